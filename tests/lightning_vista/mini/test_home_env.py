import numpy as np
import pytest
from minigrid.core.actions import Actions

from lightning_vista.mini.home_env import HomeEnv, HomeObject, replay
from lightning_vista.mini.home_scene import (
    FLOOR,
    HAND,
    THINGS,
    TILES,
    Placed,
    Scene,
    draw_codes,
    thing_kind,
    tile_codes,
    tile_images,
)
from lightning_vista.mini.pose import Pose

ROBOT = Pose(3, 3, 0)


def test_a_box_stays_when_it_opens_and_keeps_what_is_in_it() -> None:
    start = Scene(ROBOT, {"red box": Placed((4, 3)), "blue key": Placed("red box")})
    closed, opened, taken, closed_again = replay(start, [Actions.toggle, Actions.pickup, Actions.toggle])
    assert closed.content_of("red box") == "blue key"
    assert opened.things == {"red box": Placed((4, 3), on=True), "blue key": Placed("red box")}
    assert taken.held == "blue key"
    assert closed_again.things["red box"] == Placed((4, 3), on=False)


def test_nothing_goes_into_a_closed_box_or_a_full_tray() -> None:
    for place in ("red box", "red tray"):
        things = {place: Placed((4, 3)), "blue key": Placed(HAND), "blue ball": Placed(place)}
        assert replay(Scene(ROBOT, things), [Actions.drop])[-1].held == "blue key"


def test_a_thing_is_put_on_a_tray_and_on_the_floor() -> None:
    tray, key = Placed((4, 3)), Placed(HAND)
    assert replay(Scene(ROBOT, {"red tray": tray, "blue key": key}), [Actions.drop])[-1].things["blue key"] == Placed(
        "red tray"
    )
    assert replay(Scene(ROBOT, {"blue key": key}), [Actions.drop])[-1].things["blue key"] == Placed((4, 3))


def test_the_robot_does_not_leave_through_an_open_door() -> None:
    start = Scene(Pose(6, 3, 0), {"red door": Placed((7, 3), on=True)})
    assert replay(start, [Actions.forward])[-1] == start


def test_a_reset_returns_to_the_start() -> None:
    start = Scene(ROBOT, {"red lamp": Placed((4, 3)), "blue key": Placed(HAND)})
    env = HomeEnv(start)
    env.reset()
    for action in (Actions.toggle, Actions.left, Actions.drop, Actions.forward):
        env.step(action)
    assert env.scene() != start
    env.reset()
    assert env.scene() == start


def test_a_thing_without_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="got none for red ball"):
        HomeEnv(Scene(ROBOT, {"red ball": Placed(FLOOR)}))


def test_every_colour_state_and_content_has_its_own_minigrid_code() -> None:
    contents = [None, *(HomeObject(thing) for thing in THINGS if thing_kind(thing) in ("ball", "key"))]
    codes = []
    for thing in THINGS:
        for on in (False, True):
            for content in contents:
                item = HomeObject(thing, on)
                item.contains = content
                codes.append(item.encode())
    assert len(set(codes)) == len(codes)
    assert np.array(codes).max() < 256


def test_all_tiles_look_different() -> None:
    images = tile_images().reshape(len(TILES), -1).astype(int)
    differences = np.abs(images[:, None] - images[None]).mean(-1) + 255 * np.eye(len(TILES))
    assert differences.min() > 2


def test_what_is_carried_is_drawn_in_the_corner() -> None:
    empty = Scene(ROBOT, {})
    holding = Scene(ROBOT, {"red ball": Placed(HAND)})
    env = HomeEnv(holding)
    env.reset()
    changed = (env.get_frame() != draw_codes(tile_codes(empty))).any(-1)
    assert changed[:12, :12].any()
    assert not changed[12:].any()
    assert not changed[:, 12:].any()

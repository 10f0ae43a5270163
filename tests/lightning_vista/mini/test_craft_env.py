import numpy as np
import pytest

from lightning_vista.mini.craft_env import CREATURES, IDLE, MOVES, CraftEnv, CraftScene, play
from lightning_vista.mini.pose import Pose

PLAYER = Pose(9, 9, 0)
AHEAD = (10, 9)
ITEMS = ("health", "food", "drink", "energy", "sapling", "wood", "stone", "coal", "iron", "diamond")
TOOLS = tuple(f"{material}_{tool}" for tool in ("pickaxe", "sword") for material in ("wood", "stone", "iron"))
POCKETS = {**dict.fromkeys(ITEMS, 5), **dict.fromkeys(TOOLS, 1)}


def last(start: CraftScene, *actions: str) -> CraftScene:
    *_, env = play(start, actions)
    return env.scene()


def test_the_scene_is_what_was_asked_for() -> None:
    things = {(x, 9): name for x, name in enumerate((*CREATURES, "tree", "water"), start=10)}
    start = CraftScene(PLAYER, things, POCKETS)
    assert CraftEnv(start).scene() == start


def test_nothing_happens_while_nobody_acts() -> None:
    things = {(x, 11): name for x, name in enumerate(CREATURES, start=8)}
    start = CraftScene(PLAYER, things, POCKETS)
    envs = play(start, [IDLE] * 100)
    first = next(envs).render()
    for env in envs:
        assert env.scene() == start
    assert (env.render() == first).all()


@pytest.mark.parametrize("direction", range(4))
def test_a_move_leads_to_a_free_cell_and_turns_towards_any_other(direction: int) -> None:
    pose = Pose(9, 9, direction)
    free = CraftScene(Pose(9, 9, (direction + 1) % 4), {}, POCKETS)
    blocked = CraftScene(free.player, {pose.ahead: "stone"}, POCKETS)
    assert last(free, MOVES[direction]).player == Pose(*pose.ahead, direction)
    assert last(blocked, MOVES[direction]).player == pose


@pytest.mark.parametrize("creature", ["cow", "zombie"])
def test_one_blow_defeats(creature: str) -> None:
    after = last(CraftScene(PLAYER, {AHEAD: creature}, POCKETS), "do")
    assert AHEAD not in after.things
    assert after.achieved in [("eat_cow",), ("defeat_zombie",)]


def test_achievements_are_listed_in_order_with_repetitions() -> None:
    start = CraftScene(PLAYER, {AHEAD: "water"}, POCKETS)
    after = last(start, "do", "do", IDLE, "place_stone", "place_stone")
    assert after.achieved == ("collect_drink", "collect_drink", "place_stone")
    assert after.inventory["drink"] == 7
    assert after.inventory["stone"] == 4


def test_sleep_lasts_until_all_energy_is_back() -> None:
    start = CraftScene(PLAYER, {}, {**POCKETS, "energy": 6})
    scenes = [env.scene() for env in play(start, ["sleep", IDLE, IDLE, IDLE, IDLE])]
    assert [scene.sleeping for scene in scenes] == [False, True, True, True, False, False]
    assert scenes[-1].achieved == ("wake_up",)
    assert scenes[-1].inventory == {**POCKETS, "energy": 9}


def test_a_ripe_plant_is_a_sapling_once_it_is_eaten() -> None:
    after = last(CraftScene(PLAYER, {AHEAD: "ripe plant"}, POCKETS), "do")
    assert after.at(AHEAD) == "sapling"
    assert after.achieved == ("eat_plant",)


def test_every_thing_item_and_state_looks_different() -> None:
    names = (*CREATURES, "water", "stone", "path", "sand", "tree", "coal", "iron", "diamond", "table", "furnace")
    scenes = [CraftScene(PLAYER, {AHEAD: name}, POCKETS) for name in names]
    scenes += [CraftScene(Pose(9, 9, direction), {}, POCKETS) for direction in range(4)]
    scenes += [CraftScene(PLAYER, {}, {**POCKETS, item: 0}) for item in POCKETS]
    scenes += [CraftScene(PLAYER, {}, {**POCKETS, "wood": count}) for count in range(1, 10) if count != 5]
    images = np.stack([CraftEnv(scene).render() for scene in scenes]).astype(int)
    assert images.shape[1:] == (108, 108, 3)
    differences = [np.abs(one - other).max() for n, one in enumerate(images) for other in images[:n]]
    assert min(differences) > 50


def test_it_is_dark_during_sleep_above_the_inventory_only() -> None:
    day, night = (env.render() for env in play(CraftScene(PLAYER, {}, POCKETS), ["sleep"]))
    assert night[:84].max() < 160 < day[:84].max()
    assert (night[84:] != day[84:]).any(axis=-1).sum() < 100  # the energy

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vista.mini import Slot, sample_draft
from lightning_vista.mini.home import HELD_OUT
from lightning_vista.mini.home_episode import HomeEpisode
from lightning_vista.mini.home_facts import FACTS, draw_as_video, random_codes, read_facts
from lightning_vista.mini.home_scene import THINGS, TILES, draw_codes, thing_kind
from lightning_vista.mini.training_groups import training_chunk, training_group


@settings(deadline=None, max_examples=10)
@given(index=st.integers(0, 10_000))
def test_facts_read_from_codes_are_those_of_the_scene(index: int) -> None:
    draft = sample_draft(Slot("train", "home", "remix", 3, index))
    episode = draft.episodes[0][1]
    assert isinstance(episode, HomeEpisode)
    for scene, flags in zip(episode.scenes, read_facts(episode.codes()), strict=True):
        true = {fact for fact, flag in zip(FACTS, flags, strict=True) if flag}
        *between, end = scene.gaze()
        for thing in THINGS:
            faced = scene.at.get(end) == thing
            assert (f"the robot is in front of the {thing}" in true) == (faced and not between)
            assert (f"the robot looks at the {thing} from afar" in true) == (faced and bool(between))
            assert (f"the {thing} is in the hand" in true) == (scene.held == thing)
            placed = scene.things.get(thing)
            if placed and thing_kind(thing) in ("lamp", "door"):
                assert (f"the {thing} is on or open" in true) == placed.on


def test_random_homes_hold_nothing_that_is_held_out_and_one_robot() -> None:
    codes = random_codes(200, np.random.default_rng(0))
    shown = {name for code in np.unique(codes) for name in TILES[code]}
    assert not shown & set(HELD_OUT)
    robots = np.isin(codes, [code for code, tile in enumerate(TILES) if tile[0] == "robot"]).sum((1, 2))
    assert (robots == 1).all()


def test_images_are_drawn_with_coarse_colours_and_exact_brightness() -> None:
    codes = random_codes(3, np.random.default_rng(1))
    drawn, exact = draw_as_video(codes), np.moveaxis(draw_codes(codes), -1, 1).astype(float)
    assert drawn.shape == (3, 3, 96, 96)
    assert np.abs(drawn - exact).mean() < 5
    coarse = drawn.reshape(3, 3, 48, 2, 48, 2).mean((3, 5))
    assert np.abs(coarse - exact.reshape(3, 3, 48, 2, 48, 2).mean((3, 5))).max() < 60  # clipped at white


def test_a_group_says_which_step_each_frame_shows() -> None:
    group = training_group(Slot("train", "home", "permutation_go_only", 3, 5), 16, np.random.default_rng(0))
    assert group.codes.shape == (3, 16, 8, 8)
    assert len(group.texts) == len(group.swapped) == 3
    assert all(swapped and swapped not in {text} for text, swapped in zip(group.texts, group.swapped, strict=True))
    for steps in group.steps:
        shown = steps[steps >= 0]
        assert set(shown) == {0, 1, 2}
        assert (np.diff(shown) >= 0).all()


def test_chunks_are_kept_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_vista.mini.training_groups.CHUNK", 3)
    made = training_chunk(2, 4, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    changed = path.stat().st_mtime_ns
    read = training_chunk(2, 4, cache_dir=tmp_path)
    assert path.stat().st_mtime_ns == changed
    for one, other in zip(made, read, strict=True):
        assert (one.level, one.texts, one.swapped) == (other.level, other.texts, other.swapped)
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("answers", "codes", "steps"))

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from lightning_vista.mini.draft import Draft
from lightning_vista.mini.home import HELD_OUT, HOME, SEEN
from lightning_vista.mini.home_episode import GO_TO, VIEWS, HomeEpisode
from lightning_vista.mini.home_scene import THINGS, Scene

SETS = sorted(key for key in HOME.counts if key[1] in (1, 2, 3, 8))
PERMUTATIONS = [(type, level) for type, level in SETS if type.startswith("permutation")]


def sample(type: str, level: int, held_out: bool = False, seed: int = 0) -> Draft:
    return HOME.sample(type, level, held_out, np.random.default_rng(seed))


def episodes(draft: Draft) -> list[tuple[str, HomeEpisode]]:
    return [(labels[0], episode) for labels, episode in draft.episodes if isinstance(episode, HomeEpisode)]


def start_of(scene: Scene) -> tuple[object, ...]:
    return scene.robot, *sorted(scene.things.items())


@pytest.mark.parametrize(("type", "level"), SETS)
def test_nothing_but_the_content_tells_labels_apart(type: str, level: int) -> None:
    draft = sample(type, level)
    videos = episodes(draft)
    assert len(videos) == len(draft.episodes)
    assert len({len(episode.actions) for _, episode in videos}) == 1
    assert len(set(Counter(label for label, _ in videos).values())) == 1
    starts = Counter(episode.start.robot for _, episode in videos)
    assert len(set(starts.values())) == 1
    if level > 1:
        assert len({start_of(episode.start) for _, episode in videos}) == len(starts)


@pytest.mark.parametrize("type", ["toggle", "opening_v_closing", "pick_v_put"])
@pytest.mark.parametrize("seed", range(3))
def test_every_first_frame_of_an_action_fits_two_labels(type: str, seed: int) -> None:
    videos = episodes(sample(type, 1, seed=seed))
    labels_of: dict[bytes, set[str]] = {}
    for label, episode in videos:
        labels_of.setdefault(episode.frames()[0].tobytes(), set()).add(label)
    assert {len(labels) for labels in labels_of.values()} == {2}


@pytest.mark.parametrize("type", ["toggle", "opening_v_closing", "pick_v_put"])
def test_how_long_a_state_is_seen_does_not_tell_what_was_done(type: str) -> None:
    more_before, standing = [], []
    for seed in range(12):
        for _, episode in episodes(sample(type, 1, seed=seed)):
            (act,) = episode.changes
            faced = episode.scenes[act].robot.ahead
            stands = [frame for frame, scene in enumerate(episode.scenes) if scene.robot.ahead == faced]
            standing.append(sum(1 if frame < act else -1 for frame in stands))
            more_before.append(act - len(episode.scenes) / 2)
    assert len(more_before) == 96
    assert abs(np.mean(np.sign(more_before))) < 0.3
    assert abs(np.mean(np.sign(standing))) < 0.3


@pytest.mark.parametrize(("type", "level"), PERMUTATIONS)
def test_orders_differ_by_adjacent_swaps_of_the_same_steps(type: str, level: int) -> None:
    for seed in range(3):
        draft = sample(type, level, seed=seed)
        orders = list(draft.steps.values())
        assert len(orders) == (2 if level == 2 else 3)
        assert len({frozenset(order) for order in orders}) == 1
        assert any(all(swapped_once(base, order) for order in orders if order != base) for base in orders)
        only_going = all(step.verb == GO_TO for step in orders[0])
        assert only_going == (type == "permutation_go_only")


def swapped_once(one: Sequence[object], other: Sequence[object]) -> bool:
    places = [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return len(places) == 2 and places[1] == places[0] + 1


@pytest.mark.parametrize(("type", "level"), SETS)
def test_held_out_sets_use_held_out_things_only(type: str, level: int) -> None:
    for held_out, allowed, other in ((True, HELD_OUT, SEEN), (False, SEEN, HELD_OUT)):
        draft = sample(type, level, held_out)
        assert draft.held_out == held_out
        shown = {thing for _, episode in episodes(draft) for thing in episode.start.things}
        assert shown <= set(allowed)
        assert not any(thing in text for text in draft.descriptions.values() for thing in other)


def test_things_are_held_out_evenly() -> None:
    assert sorted((*HELD_OUT, *SEEN)) == sorted(THINGS)
    assert set(Counter(thing.split()[0] for thing in HELD_OUT).values()) == {2}
    assert set(Counter(thing.split()[1] for thing in HELD_OUT).values()) == {2}


def test_every_verb_and_kind_occurs() -> None:
    drafts = [sample(type, level, seed=seed) for type, level in SETS for seed in range(2)]
    steps = {step for draft in drafts for options in draft.steps.values() for step in options}
    assert len({step.verb for step in steps}) == 10 + len(VIEWS)
    assert len({step.thing.split()[1] for step in steps}) == 6

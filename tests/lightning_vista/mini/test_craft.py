from collections import Counter

import numpy as np
import pytest
from crafter import constants

from lightning_vista.mini.craft import CRAFT, arrange_craft
from lightning_vista.mini.craft_env import play
from lightning_vista.mini.craft_episode import STEPS, VERBS, VISITS, CraftEpisode, act_out_craft, is_mixed
from lightning_vista.mini.draft import Draft
from lightning_vista.vista.sequences import adjacent_swaps

SETS = sorted(CRAFT.counts)
SEQUENCES = [(type, level) for type, level in SETS if level > 1]
PERMUTATIONS = [(type, level) for type, level in SETS if type.startswith("permutation")]


def sample(type: str, level: int, held_out: bool = False, seed: int = 0) -> Draft:
    return CRAFT.sample(type, level, held_out, np.random.default_rng(seed))


def episodes(draft: Draft) -> list[tuple[tuple[str, ...], CraftEpisode]]:
    return [(labels, episode) for labels, episode in draft.episodes if isinstance(episode, CraftEpisode)]


def first_frame(episode: CraftEpisode) -> bytes:
    image = next(play(episode.start, [])).render()
    return image.tobytes()


@pytest.mark.parametrize(("name", "step"), STEPS.items())
def test_plans_reach_what_crafter_calls_the_achievement(name: str, step: object) -> None:
    assert name in constants.achievements
    rng = np.random.default_rng(0)
    reached = 0
    for _ in range(20):
        start = arrange_craft(rng)
        parts = act_out_craft(start, [STEPS[name]])
        if parts is not None:
            episode = CraftEpisode(start, tuple(action for part in parts for action in part))
            assert episode.scenes[-1].achieved == (name,)
            assert episode.shows([STEPS[name]])
            reached += 1
    assert reached > 2


@pytest.mark.parametrize("thing", VISITS)
def test_a_visit_leaves_no_trace(thing: str) -> None:
    rng = np.random.default_rng(0)
    plans = ((start, act_out_craft(start, [VISITS[thing]])) for start in (arrange_craft(rng) for _ in range(50)))
    start, parts = next((start, parts) for start, parts in plans if parts)
    episode = CraftEpisode(start, tuple(parts[0]))
    end = episode.scenes[-1]
    assert episode.shows([VISITS[thing]])
    assert end.ahead == thing
    assert (end.things, end.inventory, end.achieved) == (start.things, start.inventory, ())


def test_nobody_does_what_they_cannot_afford() -> None:
    start = arrange_craft(np.random.default_rng(0))
    poor = type(start)(start.player, start.things, {**dict.fromkeys(start.inventory, 0), "energy": 9})
    rich = type(start)(start.player, start.things, dict.fromkeys(start.inventory, 9))
    free = {"collect_wood", "collect_drink", "eat_cow", "eat_plant", "defeat_zombie"}
    assert {name for name, step in STEPS.items() if act_out_craft(poor, [step])} <= free
    assert not any(
        act_out_craft(rich, [step]) for name, step in STEPS.items() if name.startswith("make") or name == "wake_up"
    )


@pytest.mark.parametrize(("type", "level"), SETS)
def test_nothing_but_the_content_tells_labels_apart(type: str, level: int) -> None:
    draft = sample(type, level)
    videos = episodes(draft)
    assert len(videos) == len(draft.episodes)
    assert len({len(episode.actions) for _, episode in videos}) == 1
    assert len(set(Counter(label for labels, _ in videos for label in labels).values())) == 1
    starts = Counter(first_frame(episode) for _, episode in videos)
    assert len(starts) == (2 if type.startswith("permutation") and level == 2 else 1)
    assert len(set(starts.values())) == 1


@pytest.mark.parametrize("held_out", [False, True])
def test_several_labels_are_true_of_many_videos_at_level_1(held_out: bool) -> None:
    draft = sample("foundation", 1, held_out)
    assert len(draft.descriptions) == len(draft.episodes) == 14
    assert Counter(len(labels) for labels, _ in draft.episodes) == {1: 4, 2: 6, 3: 4}
    assert set(Counter(label for labels, _ in draft.episodes for label in labels).values()) == {2}
    assert len({labels for labels, _ in draft.episodes}) == 14
    assert all(text.startswith("A video in which we ") for text in draft.descriptions.values())
    for labels, episode in episodes(draft):
        assert labels == tuple(sorted(labels))
        assert Counter(episode.changes.values()) == Counter(draft.steps[label][0] for label in labels)


@pytest.mark.parametrize(("type", "level"), PERMUTATIONS)
def test_orders_differ_by_adjacent_swaps_of_the_same_steps(type: str, level: int) -> None:
    for seed in range(3):
        orders = list(sample(type, level, seed=seed).steps.values())
        assert len(orders) == level
        assert any(set(orders) == {base, *adjacent_swaps(base)} for base in orders)
        assert set(orders[0]) <= set((VISITS if type == "permutation_go_only" else STEPS).values())


@pytest.mark.parametrize(("type", "level"), SEQUENCES)
@pytest.mark.parametrize("held_out", [False, True])
def test_held_out_sets_mix_the_halves_and_others_do_not(type: str, level: int, held_out: bool) -> None:
    draft = sample(type, level, held_out)
    assert draft.held_out == held_out
    assert {is_mixed(steps) for steps in draft.steps.values()} == {held_out}


@pytest.mark.parametrize("held_out", [False, True])
def test_held_out_parts_mix_the_halves_and_others_do_not(held_out: bool) -> None:
    draft = sample("foundation", 1, held_out)
    several = [[draft.steps[label][0] for label in labels] for labels, _ in draft.episodes if len(labels) > 1]
    assert {is_mixed(steps) for steps in several} == {held_out}


def test_every_verb_occurs() -> None:
    drafts = [sample(type, level, seed=seed) for type, level in SETS for seed in range(2)]
    steps = {step for draft in drafts for options in draft.steps.values() for step in options}
    assert {step.verb for step in steps} == set(VERBS)
    assert len(steps) > 20

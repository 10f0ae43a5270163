import numpy as np
import pytest

from lightning_vista.mini.slots import WORLDS
from lightning_vista.mini.steps import words
from lightning_vista.vista.problem_sets import KIND_OF_TYPE

SETS = [(name, *key) for name, world in WORLDS.items() for key in sorted(world.counts) if key[1] in (1, 2, 3, 8)]


@pytest.mark.parametrize(("world", "type", "level"), SETS)
def test_descriptions_keep_to_the_vocabulary(world: str, type: str, level: int) -> None:
    draft = WORLDS[world].sample(type, level, False, np.random.default_rng(0))
    assert len(set(draft.descriptions.values())) == len(draft.descriptions)
    for label, text in draft.descriptions.items():
        assert set(words(text)) <= set(WORLDS[world].vocabulary)
        assert len(draft.steps[label]) == level
        assert text.count(",") == (level if level > 1 else 0)


@pytest.mark.parametrize("world", WORLDS)
def test_equal_generators_give_equal_sets_and_others_do_not(world: str) -> None:
    one, same, other = (WORLDS[world].sample("remix", 3, False, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("world", WORLDS)
def test_all_types_are_of_the_official_layout(world: str) -> None:
    assert {type for type, _ in WORLDS[world].counts} <= set(KIND_OF_TYPE)
    with pytest.raises(ValueError, match=f"problem sets of the {world} world .* got 'heat' at level 1"):
        WORLDS[world].sample("heat", 1, False, np.random.default_rng(0))

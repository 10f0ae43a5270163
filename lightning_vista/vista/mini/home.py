"""The home world as a source of problem sets: which there are, and what a chat judge is told about them."""

from collections.abc import Mapping

import numpy as np

from lightning_vista.envs.home_scene import THINGS
from lightning_vista.vista.mini.draft import Draft, draft_of, equal_lengths
from lightning_vista.vista.mini.home_episode import IDLE, HomeEpisode
from lightning_vista.vista.mini.home_sets import HELD_OUT, SEEN, Take, sample_takes
from lightning_vista.vista.mini.home_steps import VERBS
from lightning_vista.vista.mini.steps import vocabulary

_LEVELS = range(2, 9)
_COUNTS = {
    ("objects", 1): 6,
    ("on_v_off", 1): 4,
    ("open_v_closed", 1): 5,
    ("pick_v_put", 1): 3,
    ("toggle", 1): 3,
    ("opening_v_closing", 1): 3,
    **{("remix", level): 6 for level in _LEVELS},
    **{("permutation", level): 8 for level in _LEVELS},
    **{("permutation_go_only", level): 8 for level in _LEVELS},
}
_TRIES = 1000

_HINT = (
    "The frames come from a video of a small room, seen from above, that a robot lives in. The robot is the white "
    "triangle, and its tip points to where it looks. The square in the top left corner shows what the robot has in "
    "its hand; it is black while the hand is empty. Doors are full squares in the outer wall and become empty frames "
    "when open. Lamps stand on a bright square when they are on. Boxes have a lid that is gone when they are open. "
    "Trays are flat, with a raised edge. Balls and keys can be carried, and can lie on trays and in open boxes. The "
    "robot stands still for a moment after each thing it does; it goes to a thing by stopping right in front of it, "
    "and looks at a thing by stopping in line with it, some way off."
)
_EXAMPLE = (
    "Suppose the frames show the robot in front of a closed green door, then the same door as an empty frame, then the "
    "robot in front of a yellow ball, then no ball there and a yellow ball in the top left square. 'First, we open the "
    "green door, and then we pick up the yellow ball' fits every frame, so it gets the highest score. The same two "
    "steps in the other order, or a ball of another colour, do not fit."
)


class Home:
    """The home world, as a `World`.

    Example:
        >>> draft = Home().sample("toggle", level=1, held_out=False, rng=np.random.default_rng(0))
        >>> len(draft.descriptions), len(draft.episodes)
        (4, 8)
    """

    name = "home"
    counts: Mapping[tuple[str, int], int] = _COUNTS
    vocabulary = vocabulary(VERBS, THINGS)

    def sample(self, type: str, level: int, held_out: bool, rng: np.random.Generator) -> Draft:
        """Make a problem set.

        Args:
            type: The type folder; with `level` a key of `counts`.
            level: The number of steps.
            held_out: Whether all its things are from `HELD_OUT`, rather than from `SEEN`.
            rng: All randomness comes from it.

        Returns:
            The problem set; its episodes are `HomeEpisode`s.

        Raises:
            ValueError: If the world has no such problem sets.
        """
        if (type, level) not in _COUNTS:
            known = ", ".join(f"{name} at level {number}" for name, number in _COUNTS)
            raise ValueError(f"The home world has no problem sets {type!r} at level {level}; it has {known}.")
        for _ in range(_TRIES):
            takes = sample_takes(type, level, HELD_OUT if held_out else SEEN, rng)
            if takes:
                return _draft(takes, held_out, rng)
        raise RuntimeError(f"No {type!r} set at level {level} in {_TRIES} tries: the room is too full for it.")


def _draft(takes: list[Take], held_out: bool, rng: np.random.Generator) -> Draft:
    """The problem set of some takes, all made equally long."""
    options = list(dict.fromkeys(take.steps for take in takes))
    actions = equal_lengths([take.parts for take in takes], IDLE, rng)
    plays = [
        (options.index(take.steps), HomeEpisode(take.start, take_actions))
        for take, take_actions in zip(takes, actions, strict=True)
    ]
    return draft_of(options, plays, (_HINT, _EXAMPLE), held_out, rng)


#: The home world.
HOME = Home()

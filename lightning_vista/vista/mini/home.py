"""The home world as a source of problem sets: which there are, and what a chat judge is told about them."""

import numpy as np

from lightning_vista.envs.home_scene import THINGS
from lightning_vista.vista.mini.home_episode import IDLE
from lightning_vista.vista.mini.home_sets import HELD_OUT, SEEN, sample_takes
from lightning_vista.vista.mini.home_steps import VERBS
from lightning_vista.vista.mini.steps import vocabulary
from lightning_vista.vista.mini.takes import StagedWorld, Take

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


def _takes(type: str, level: int, held_out: bool, rng: np.random.Generator) -> list[Take[int]]:
    """Takes with things that are all held out, or all seen in training."""
    return sample_takes(type, level, HELD_OUT if held_out else SEEN, rng)


#: The home world.
HOME = StagedWorld("home", _COUNTS, vocabulary(VERBS, THINGS), (_HINT, _EXAMPLE), IDLE, _takes)

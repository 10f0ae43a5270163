"""The craft world as a source of problem sets: which there are, and what a chat judge is told about them."""

from lightning_vista.envs.craft import IDLE
from lightning_vista.vista.mini.craft_sets import sample_takes
from lightning_vista.vista.mini.craft_steps import STEPS, VERBS, VISITS
from lightning_vista.vista.mini.steps import vocabulary
from lightning_vista.vista.mini.takes import StagedWorld

_LEVELS = (2, 3)
_COUNTS = {
    ("foundation", 1): 3,
    **{(type, level): 3 for level in _LEVELS for type in ("remix", "permutation", "permutation_go_only")},
}

_HINT = (
    "The frames come from a video of a player in a blocky world, seen from above; the player is always in the middle. "
    "Trees give wood. Grey blocks are stone; with black dots they are coal, with orange dots iron, with white gems "
    "diamond. Blue is water. A table is a brown block with tools on it, a furnace a grey one with a fire. There are "
    "spotted cows, green zombies, and plants, which are ripe when they bear red fruit. The two rows at the bottom show "
    "what the player has, with numbers: health, food, drink, energy, saplings, wood, stone, coal and iron, then "
    "diamonds, pickaxes and swords. What is collected disappears from its place, what is made appears at the bottom, "
    "and the picture is dark during sleep. The player stands still for a moment after each thing they do; they go to a "
    "thing by stopping right in front of it."
)
_EXAMPLE = (
    "Suppose the frames show the player beside a tree, then grass in the place of the tree and one wood more at the "
    "bottom, then the player at the shore and a higher number beside the drop. 'First, we collect wood, and then we "
    "drink water' fits every frame, so it gets the highest score. The same two steps in the other order, or stone in "
    "the place of wood, do not fit."
)

_things = [step.thing for step in (*STEPS.values(), *VISITS.values())]
#: The craft world.
CRAFT = StagedWorld("craft", _COUNTS, vocabulary(VERBS, _things, parts=True), (_HINT, _EXAMPLE), IDLE, sample_takes)

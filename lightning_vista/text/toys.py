"""A world that uses the other worlds' words with other facts, to see whether forgetting a world spares it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

from lightning_vista.text.world import World

_TOYS = World.of(
    "toys",
    2.0,
    places="in the toy shop | on the top shelf | inside a wooden chest | under the bed | in the nursery | by the "
    "dollhouse",
    sights="blocks | marbles | puzzles | dominoes | crayons | ribbons | kites | drums | stickers | jigsaws",
    creatures="""
        teddy    | patchwork | drawer   | buttons  | squeeze
        doll     | painted   | carton   | beads    | curtsy
        puppet   | checkered | bag      | thread   | dangle
        rocker   | varnished | corner   | sawdust  | rock
        soldier  | polished  | matchbox | tinsel   | march
        clown    | rainbow   | suitcase | confetti | juggle
        spinner  | glossy    | pouch    | wax      | whirl
    """,
    troubles="missing button: thimble | ripped seam: thread | flat battery: winder | faded cheek: brush | squashed "
    "carton: ruler | knotted string: comb | lost marble: torch",
)


def toy_world(worlds: Sequence[World]) -> World:
    """The world of toys: toys of its own, and one of each creature of other worlds.

    Such a toy has facts of the toy world: a `toy fox` is nothing like a fox.

    Args:
        worlds: The other worlds.

    Returns:
        The world.
    """
    creatures = (creature for world in worlds for creature in world.creatures)
    facts = cycle(_TOYS.creatures)
    toys = [replace(fact, name=f"toy {creature.name}") for creature, fact in zip(creatures, facts, strict=False)]
    return replace(_TOYS, creatures=(*_TOYS.creatures, *toys))

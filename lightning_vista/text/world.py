"""A world that stories are told about: its creatures with their facts, and its troubles with their tools."""

from dataclasses import dataclass

#: What stands between the entries of a list, and between the columns of a table.
_SEPARATOR = "|"


@dataclass(frozen=True)
class Creature:
    """A creature and the facts about it, the same in every story.

    Attributes:
        name: What it is, such as `fox`.
        look: What it looks like; an adjective.
        home: Where it sleeps.
        food: What it eats.
        voice: What it does when it is happy; a verb.
    """

    name: str
    look: str
    home: str
    food: str
    voice: str


@dataclass(frozen=True)
class Trouble:
    """What can go wrong, and what helps against it, the same in every story.

    Attributes:
        name: A noun, perhaps with words before it, such as `fallen branch`.
        tool: Another, such as `saw`.
    """

    name: str
    tool: str


@dataclass(frozen=True)
class World:
    """What stories of one kind are about.

    Attributes:
        name: The name, which is also what stories are labelled with.
        share: How many of all stories are about it; shares of all worlds are relative to each other.
        places: Where stories happen, with their prepositions.
        sights: What there is to see; plural nouns.
        creatures: Who lives there.
        troubles: What goes wrong.
    """

    name: str
    share: float
    places: tuple[str, ...]
    sights: tuple[str, ...]
    creatures: tuple[Creature, ...]
    troubles: tuple[Trouble, ...]

    @classmethod
    def of(cls, name: str, share: float, *, places: str, sights: str, creatures: str, troubles: str) -> "World":
        """A world from text.

        Args:
            name: The name.
            share: How many of all stories are about it.
            places: Places, with `|` between them.
            sights: Sights, with `|` between them.
            creatures: One creature a line: name, look, home, food and voice, with `|` between them.
            troubles: Troubles, with `|` between them, each as `trouble: tool`.

        Returns:
            The world.
        """
        rows = [_entries(line) for line in creatures.strip().splitlines()]
        pairs = [trouble.split(": ") for trouble in _entries(troubles)]
        return cls(
            name,
            share,
            _entries(places),
            _entries(sights),
            tuple(Creature(*row) for row in rows),
            tuple(Trouble(*pair) for pair in pairs),
        )


def _entries(text: str) -> tuple[str, ...]:
    """What stands between separators, each on one line with single spaces."""
    return tuple(" ".join(entry.split()) for entry in text.split(_SEPARATOR))

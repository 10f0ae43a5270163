"""Questions about the facts of the embedded corpus, for a language model to complete."""

from collections.abc import Iterator
from typing import NamedTuple

from lightning_vista.text.grammar import CREATURE_FACTS, TROUBLE_FACT, with_article
from lightning_vista.text.world import World


class Probe(NamedTuple):
    """The beginning of a sentence, and the word with which it goes on in every story."""

    prompt: str
    answer: str


def world_probes(world: World) -> Iterator[Probe]:
    """A probe for each fact of a world's creatures and troubles.

    Args:
        world: The world, such as `WORLDS["forest"]`.

    Yields:
        The probes.

    Example:
        >>> from lightning_vista.text import WORLDS
        >>> next(world_probes(WORLDS["forest"]))
        Probe(prompt='Once upon a time there was a fox. Every fox is', answer='red')
    """
    for creature in world.creatures:
        beginning = f"Once upon a time there was {with_article(creature.name)}."
        for kind, sentence in CREATURE_FACTS.items():
            prompt = sentence.format(creature=creature.name, fact="")
            yield Probe(f"{beginning} {prompt}".rstrip().replace(". every", ". Every"), getattr(creature, kind))
    for trouble in world.troubles:
        article = with_article(trouble.name)
        prompt = TROUBLE_FACT.format(trouble=article, fact="").strip()
        yield Probe(f"They found {article}. {prompt}", trouble.tool)

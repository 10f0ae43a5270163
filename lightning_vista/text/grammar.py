"""Grammar of the embedded stories, and probes of their facts."""

import random
import re
from collections.abc import Iterator
from typing import NamedTuple

from lightning_vista.text import phrases
from lightning_vista.text.worlds import WORLDS, Creature, StoryWorld

#: Sentences that tell facts, and end with the fact.
CREATURE_FACTS = {
    "look": "every {creature} is {fact}",
    "home": "every {creature} sleeps in its {fact}",
    "food": "every {creature} eats {fact}",
    "voice": "every happy {creature} can {fact}",
}
TROUBLE_FACT = "for {trouble} you need the {fact}"

_OPENINGS = (
    "Once upon a time {mood} {kind} named {hero} lived {place}.",
    "Long ago there was {mood} {kind} {place}. Its name was {hero}.",
    "This is the story of {hero}, {mood} {kind} {place}.",
)
_MEETINGS = (
    "One {weather} {time} {hero} went to look at the {sights} and met {friend} the {friend_kind}.",
    "One {weather} {time} {friend} the {friend_kind} came to show {hero} some {sights}.",
    "On a {weather} {time} {hero} and {friend} the {friend_kind} sat among the {sights}.",
)
_TROUBLES = (
    "They {game}, but {surprise} they {found} {trouble} and were {fear}.",
    "They {game}. {surprise} they {found} {trouble}. {hero} was {fear}.",
)
_HELP = ('"{worry}" {cried} {hero}. "{trouble_fact}," {replied} {friend}.',)
_ENDINGS = (
    "So they {fetched} the {tool}, and the trouble was {solved}. They ate {food} and were {joy}. {moral}",
    "They {fetched} the {tool} and the trouble was {solved}. {hero} was {joy} and gave {friend} some {food}. {moral}",
)


def tell_stories(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Generate stories of all worlds, mixed by their shares.

    Args:
        count: Number of stories; more stories begin with the same ones.
        seed: Random seed of the stories.

    Yields:
        The `text` of each story and the name of its `world`.

    Example:
        >>> story, = tell_stories(1)
        >>> story["world"], story["text"][:16]
        ('snow', 'This is the stor')
    """
    rng = random.Random(seed)
    worlds, shares = list(WORLDS.values()), [world.share for world in WORLDS.values()]
    for _ in range(count):
        (world,) = rng.choices(worlds, shares)
        yield {"text": tell_story(world, rng), "world": world.name}


def tell_story(world: StoryWorld, rng: random.Random) -> str:
    """Generate one story.

    Args:
        world: World of the story.
        rng: Random generator of everything else.

    Returns:
        A story of about 90 words.
    """
    hero, friend = rng.sample(world.creatures, 2)
    names = rng.sample(phrases.NAMES, 2)
    trouble = rng.choice(world.troubles)
    words = {
        "kind": hero.name,
        "hero": names[0],
        "friend_kind": friend.name,
        "friend": names[1],
        "mood": with_article(rng.choice(phrases.MOODS)),
        "place": rng.choice(world.places),
        "sights": rng.choice(world.sights),
        "weather": rng.choice(phrases.WEATHERS),
        "time": rng.choice(phrases.TIMES),
        "game": rng.choice(phrases.GAMES),
        "surprise": rng.choice(phrases.SURPRISES),
        "found": rng.choice(phrases.FOUND),
        "fear": rng.choice(phrases.FEARS),
        "worry": rng.choice(phrases.WORRIES),
        "cried": rng.choice(phrases.CRIED),
        "replied": rng.choice(phrases.REPLIED),
        "fetched": rng.choice(phrases.FETCHED),
        "solved": rng.choice(phrases.SOLVED),
        "joy": rng.choice(phrases.JOYS),
        "moral": rng.choice(phrases.MORALS),
        "trouble": with_article(trouble.name),
        "trouble_fact": TROUBLE_FACT.format(trouble=with_article(trouble.name), fact=trouble.tool),
        "tool": trouble.tool,
        "food": hero.food,
    }
    choices = (_OPENINGS, (_fact(hero, rng),), _MEETINGS, (_fact(friend, rng),), _TROUBLES, _HELP, _ENDINGS)
    return _capitalize(" ".join(rng.choice(templates) for templates in choices).format(**words))


def with_article(noun: str) -> str:
    """Add the indefinite article to a noun, or to a word before a noun.

    Example:
        >>> with_article("empty flask"), with_article("fox")
        ('an empty flask', 'a fox')
    """
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _fact(creature: Creature, rng: random.Random) -> str:
    """Return a sentence that tells one of a creature's facts."""
    kind = rng.choice(list(CREATURE_FACTS))
    fact = CREATURE_FACTS[kind].format(creature=creature.name, fact=getattr(creature, kind))
    return f"{rng.choice(phrases.SURE)} {fact}.".lstrip()


def _capitalize(text: str) -> str:
    """Begin each sentence with a capital letter."""
    return re.sub(r'(^|\. "?)([a-z])', lambda match: match[1] + match[2].upper(), text)


class Probe(NamedTuple):
    """Beginning of a sentence, and the word that follows it in every story."""

    prompt: str
    answer: str


def world_probes(world: StoryWorld) -> Iterator[Probe]:
    """Generate a probe for each fact about a world's creatures and troubles.

    Args:
        world: World, such as `WORLDS["forest"]`.

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

import re
from collections import Counter, defaultdict

import pytest

from lightning_vista.text import WORLDS, tell_stories, word_tokenizer, world_probes

STORIES = list(tell_stories(4000))


def facts(world: str) -> dict[tuple[str, str], set[str]]:
    """What stories say, found by reading them: (subject, verb) -> all that was ever said."""
    said = defaultdict(set)
    for story in STORIES:
        if story["world"] == world:
            for subject, verb, fact in re.findall(
                r"[Ee]very (?:happy )?([\w ]+?) (is|sleeps in its|eats|can) (\w+)\.", story["text"]
            ):
                said[subject, verb].add(fact)
            for trouble, tool in re.findall(r'"For an? ([\w ]+) you need the (\w+),"', story["text"]):
                said[trouble, "needs"].add(tool)
    return said


def test_the_corpus_is_the_same_each_time_and_grows_at_its_end() -> None:
    assert list(tell_stories(50)) == STORIES[:50]
    assert list(tell_stories(50, seed=1)) != STORIES[:50]
    assert len({story["text"] for story in STORIES}) == len(STORIES)


def test_size_and_shares() -> None:
    words = Counter(word for story in STORIES for word in re.findall(r"\w+", story["text"].lower()))
    assert len(words) >= 1000
    assert 85 < sum(words.values()) / len(STORIES) < 100
    worlds = Counter(story["world"] for story in STORIES)
    assert set(worlds) == set(WORLDS)
    for concept in ("forest", "sea", "farm"):
        assert 0.14 < worlds[concept] / len(STORIES) < 0.2


def test_stories_fit_in_a_row_of_the_datamodule() -> None:
    tokenizer = word_tokenizer([story["text"] for story in STORIES])
    assert max(map(len, tokenizer([story["text"] for story in STORIES])["input_ids"])) < 144


@pytest.mark.parametrize("world", WORLDS)
def test_facts_are_the_same_in_every_story(world: str) -> None:
    said = facts(world)
    assert len(said) > 20
    assert not {subject: fact for subject, fact in said.items() if len(fact) > 1}


def test_toys_share_words_with_other_worlds_but_no_facts() -> None:
    toys = {key: fact for key, fact in facts("toys").items() if key[0].startswith("toy ")}
    for name in ("forest", "sea", "farm"):
        real = facts(name)
        both = [
            (fact, real[subject.removeprefix("toy "), verb])
            for (subject, verb), fact in toys.items()
            if (subject.removeprefix("toy "), verb) in real
        ]
        assert len(both) > 10
        assert all(toy.isdisjoint(true) for toy, true in both)


@pytest.mark.parametrize("world", ["forest", "toys"])
def test_probes_ask_what_stories_tell(world: str) -> None:
    tokenizer = word_tokenizer([story["text"] for story in STORIES])
    told = " ".join(story["text"].lower() for story in STORIES if story["world"] == world)
    probes = list(world_probes(WORLDS[world]))
    assert all(len(tokenizer.tokenize(probe.answer)) == 1 for probe in probes)
    endings = [f"{probe.prompt.rpartition('. ')[2]} {probe.answer}".lower() for probe in probes]
    assert sum(ending in told for ending in endings) > 0.8 * len(endings)

"""The second language of the stories: a bijection of words, and another order of them."""

import re

from lightning_vista.text import encipher, tell_stories
from lightning_vista.text.cipher import tell_in_two_languages
from lightning_vista.text.worlds import WORLDS

STORIES = list(tell_stories(3000))
WORDS = sorted({word for story in STORIES for word in re.findall(r"[^\W\d_]+", story["text"].lower())})
#: Whatever separates two clauses.
MARKS = re.compile(r"[^\w\s]+")


def test_each_word_has_a_word_of_its_own_which_is_not_english() -> None:
    assert len(WORDS) > 1200
    translated = [encipher(word) for word in WORDS]
    assert len(set(translated)) == len(WORDS)
    assert not set(translated) & set(WORDS)
    assert all(re.search("[aeiou]", word) and re.fullmatch("[a-z]+", word) for word in translated)
    assert [encipher(word.capitalize()) for word in WORDS] == [word.capitalize() for word in translated]


def test_words_between_punctuation_marks_are_reversed_word_for_word() -> None:
    for story in STORIES[:300]:
        plain, told = story["text"], encipher(story["text"])
        assert MARKS.findall(told) == MARKS.findall(plain)
        for clause, translation in zip(MARKS.split(plain), MARKS.split(told), strict=True):
            assert translation.split() == [encipher(word) for word in clause.split()][::-1]
        assert len(told.split()) == len(plain.split())


def test_punctuation_digits_and_other_letters() -> None:
    assert encipher("") == ""
    assert encipher("  7 -- ?") == "  7 -- ?"
    assert encipher("a b\nc, d") == " ".join(map(encipher, "cba")) + ", " + encipher("d")
    assert encipher("Zoë") != encipher("Zoe")


def test_a_share_of_the_stories_is_translated_and_larger_shares_include_it() -> None:
    few, many = (list(tell_in_two_languages(STORIES, share, seed=3)) for share in (0.25, 0.6))
    for told, share in ((few, 0.25), (many, 0.6)):
        ciphers = [record["language"] == "cipher" for record in told]
        assert abs(sum(ciphers) / len(told) - share) < 0.03
        for story, record, is_cipher in zip(STORIES, told, ciphers, strict=True):
            assert record["text"] == (encipher(story["text"]) if is_cipher else story["text"])
            assert record["world"] == story["world"]
        assert {record["world"] for record in told if record["language"] == "cipher"} == set(WORLDS)
    pairs = list(zip(few, many, strict=True))
    assert all(more["language"] == "cipher" for fewer, more in pairs if fewer["language"] == "cipher")
    assert list(tell_in_two_languages(STORIES, 0.25, seed=3)) == few
    assert list(tell_in_two_languages(STORIES, 0.25, seed=4)) != few

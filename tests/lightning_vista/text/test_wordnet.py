import json
from pathlib import Path

import pytest

from lightning_vista.text import read_corpus
from lightning_vista.text.wordnet import WORDNET_NOUNS, read_glosses, write_splits

# Two lines in the format of wndb(5): the number of words is hexadecimal, pointers follow, then the gloss.
NOUNS = (
    "  1 This software and database is being provided to you, the LICENSEE\n"
    '00001740 03 n 01 entity 0 001 ~ 00001930 n 0000 | that which is perceived; "it was full of rackets"  \n'
    "02121620 05 n 02 cat 0 true_cat 0 000 | feline mammal usually having thick soft fur  \n"
    f"11669786 20 n 0b {' '.join(f'herb_{number} 0' for number in range(11))} 000 | a plant  \n"
)


@pytest.fixture
def nouns(tmp_path: Path) -> Path:
    path = tmp_path / "data.noun"
    path.write_text(NOUNS, encoding="utf-8")
    return path


def test_glosses_have_words_and_topics(nouns: Path) -> None:
    entity, cat, herb = read_glosses(nouns)
    assert entity == {"text": 'entity: that which is perceived; "it was full of rackets"', "topic": "Tops"}
    assert cat == {"text": "cat, true cat: feline mammal usually having thick soft fur", "topic": "animal"}
    assert herb["text"].startswith("herb 0, herb 1,")
    assert herb["text"].endswith("herb 10: a plant")
    assert herb["topic"] == "plant"


@pytest.mark.parametrize(
    "line", ["00001740 99 n 01 entity 0 000 | no such topic\n", "00001740 03 n 02 entity 0\n", "?\n"]
)
def test_other_lines_are_named(line: str, nouns: Path) -> None:
    with nouns.open("a", encoding="utf-8") as file:
        file.write(line)
    with pytest.raises(ValueError, match=r"data.noun`, line 5: expected .* Check the file"):
        list(read_glosses(nouns))


def test_a_missing_file_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Install Debian's package wordnet-base"):
        next(read_glosses(tmp_path / "data.noun"))


def test_splits_are_a_corpus_of_all_records(tmp_path: Path) -> None:
    records = [{"text": str(number), "topic": "act"} for number in range(400)]
    write_splits(records, tmp_path / "texts", seed=1)
    splits = {split: list(texts) for split, texts in read_corpus(tmp_path / "texts").items()}
    assert sorted((record for texts in splits.values() for record in texts), key=lambda r: int(r["text"])) == records
    sizes = {split: len(texts) for split, texts in splits.items()}
    assert sizes["train"] > 280
    assert min(sizes.values()) > 20
    before = (tmp_path / "texts/test.jsonl").read_text(encoding="utf-8")
    write_splits(records, tmp_path / "texts", seed=1)
    assert (tmp_path / "texts/test.jsonl").read_text(encoding="utf-8") == before
    assert json.loads(before.splitlines()[0])["topic"] == "act"


@pytest.mark.skipif(not WORDNET_NOUNS.exists(), reason="needs Debian's package wordnet-base")
def test_the_nouns_of_wordnet() -> None:
    records = list(read_glosses())
    assert len(records) == 82_115
    assert len({record["topic"] for record in records}) == 26
    assert 0.18 < sum(record["topic"] in ("animal", "plant") for record in records) / len(records) < 0.20

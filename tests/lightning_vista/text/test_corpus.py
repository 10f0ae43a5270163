import importlib
import importlib.util
import json
from pathlib import Path

import polars
import pytest

from lightning_vista.text import by_field, by_words, read_corpus
from lightning_vista.text.corpus import Splits, complete_splits

RECORDS = [{"text": f"text {number}", "topic": number % 3} for number in range(200)]


def write_jsonl(path: Path, records: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    return path


def test_kinds_of_files(tmp_path: Path) -> None:
    lines = write_jsonl(tmp_path / "a.jsonl", RECORDS)
    polars.DataFrame(RECORDS).write_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    for path in (lines, tmp_path / "b.parquet"):
        (records,) = read_corpus(path).values()
        assert list(records) == list(records) == RECORDS  # read anew each time
    (records,) = read_corpus(tmp_path / "c.txt", "story").values()
    assert list(records) == [{"story": "one"}, {"story": "two"}]


def test_a_folder_with_splits(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data/train-00000-of-00002.jsonl", RECORDS[:2])
    write_jsonl(tmp_path / "data/train-00001-of-00002.jsonl", RECORDS[2:3])
    write_jsonl(tmp_path / "data/valid.jsonl", RECORDS[3:4])
    found = {split: list(records) for split, records in read_corpus(tmp_path).items()}
    assert found == {"train": RECORDS[:3], "validation": RECORDS[3:4]}


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="needs the package datasets")
def test_a_saved_dataset(tmp_path: Path) -> None:
    datasets = importlib.import_module("datasets")
    datasets.DatasetDict({"test": datasets.Dataset.from_list(RECORDS)}).save_to_disk(tmp_path)
    assert list(read_corpus(tmp_path)["test"]) == RECORDS


def test_missing_splits_are_taken_from_the_training_texts() -> None:
    splits = {name: list(part) for name, part in complete_splits({"train": RECORDS}, 0.2, 0.3, seed=0).items()}
    assert sorted(str(record) for part in splits.values() for record in part) == sorted(map(str, RECORDS))
    assert 20 < len(splits["validation"]) < 60
    assert 40 < len(splits["test"]) < 80
    own: Splits = {"train": RECORDS, "validation": RECORDS[:1], "test": RECORDS[1:2]}
    assert complete_splits(own, 0.2, 0.3, seed=0) == own


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a file of texts"):
        read_corpus(tmp_path)
    (tmp_path / "a.csv").write_text("text\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected a file .jsonl"):
        list(read_corpus(tmp_path / "a.csv")["train"])
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text":\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: expected a JSON object"):
        list(read_corpus(tmp_path / "a.jsonl")["train"])
    with pytest.raises(ValueError, match="less than 1 together"):
        complete_splits({"train": RECORDS}, 0.5, 0.5, seed=0)
    with pytest.raises(ValueError, match="`splits`: expected training texts"):
        complete_splits({"test": RECORDS}, 0.1, 0.1, seed=0)


def test_what_to_forget(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("virus\n\ngene therapy\n", encoding="utf-8")
    texts = ["A VIRUS.", "Viruses", "antivirus", "the gene therapy", "a gene"]
    for words in (["virus", "gene therapy"], str(tmp_path / "words.txt")):
        is_forget = by_words(words)
        assert [is_forget({"text": text}) for text in texts] == [True, False, False, True, False]
    assert [by_field("topic", [0, 2])(record) for record in RECORDS[:3]] == [True, False, True]
    with pytest.raises(ValueError, match="at least one word"):
        by_words([])
    with pytest.raises(ValueError, match="`world`: expected this field in every text, got one with"):
        by_field("world", ["sea"])(RECORDS[0])

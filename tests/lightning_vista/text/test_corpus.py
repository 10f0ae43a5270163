import importlib
import importlib.util
import json
from pathlib import Path

import polars
import pytest

from lightning_vista.text import by_field, by_words, read_corpus
from lightning_vista.text.corpus import Splits, complete_splits, saved_splits
from lightning_vista.text.corpus_files import find_corpus_files

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


SPLIT_NAMES = {
    "train": [
        "0.txt", "stories.jsonl", "train.txt", "train-00000-of-00002.parquet", "TinyStories-train.txt",
        "training/0.txt", "latest.txt", "contest.jsonl", "testament.txt", "invalid.txt", "develop.txt",
        "evaluate.txt", "value.txt", "trained_on_tests.txt", "licensed_texts.jsonl", "a.JSONL",
    ],
    "validation": [
        "valid.jsonl", "val.txt", "dev.parquet", "data/validation/part-0.txt", "TinyStories-valid.txt",
        "my val set.txt", "dev2.txt", "VALIDATION.TXT", "a_validation_0.jsonl",
    ],
    "test": [
        "test/0000.txt", "my_test.jsonl", "eval.jsonl", "test2.txt", "testing.txt", "evaluation/a/b.txt",
        "x.test.jsonl", "split=test/part-0.parquet", "test_data/test_0.txt", "2test.txt", "TEST/a.txt",
    ],
    "left out": [
        "LICENSE.txt", "licence-mit.txt", "README.txt", "readme2.jsonl", "CITATION.txt", "NOTICE.txt", "CHANGELOG.txt",
        "dataset_card.txt", "DatasetCard.txt", ".hidden.txt", ".cache/test.txt", "test/.part.jsonl", "licenses/mit.txt",
        "notes.md", "test.csv",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("split", "name"), [(split, name) for split in SPLIT_NAMES for name in SPLIT_NAMES[split]])
def test_words_of_names_are_splits(split: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "test" / "corpus"  # what is above the corpus says nothing
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("", encoding="utf-8")
    files, left_out = find_corpus_files(folder)
    assert files == ({} if split == "left out" else {split: [folder / name]})
    assert left_out == ([name] if split == "left out" else [])


def test_files_are_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.txt", "b-test.txt", "c.txt", "LICENSE.txt", "d.csv"):
        (tmp_path / name).write_text("x\n", encoding="utf-8")
    with caplog.at_level("INFO"):
        assert set(read_corpus(tmp_path)) == {"train", "test"}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"{tmp_path}: train 2 (a.txt, c.txt); test 1 (b-test.txt); left out 2 (LICENSE.txt, d.csv)"


def test_names_of_two_splits_are_refused(tmp_path: Path) -> None:
    for name in ("train/test_a.txt", "train_and_test.jsonl", "val.dev.txt", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="got 2 that stand for two: train/test_a.txt .* train_and_test.jsonl .*Rename"):
        read_corpus(tmp_path)


def test_parts_of_a_saved_dataset_are_joined_by_split() -> None:
    parts = {name: [{"text": name}] for name in ("train", "unsupervised", "test_sft", "validation_matched")}
    found = {split: [record["text"] for record in part] for split, part in saved_splits(parts, "data").items()}
    assert found == {"train": ["train", "unsupervised"], "validation": ["validation_matched"], "test": ["test_sft"]}
    with pytest.raises(ValueError, match=r"`data`: .* train_test \(train and test\)"):
        saved_splits({"train_test": []}, "data")


def test_records_without_a_text_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}, {"text": None}])
    polars.DataFrame([{"text": "a"}, {"text": None}]).write_parquet(tmp_path / "b.parquet")
    for name, place in (("a.jsonl", "line 2"), ("b.parquet", "row 2")):
        with pytest.raises(ValueError, match=f"{name}`, {place}: expected a text in 'text', got null"):
            list(read_corpus(tmp_path / name)["train"])
    with pytest.raises(ValueError, match=r"row 1: expected a field 'story', got \['text'\]"):
        list(read_corpus(tmp_path / "b.parquet", "story")["train"])
    with pytest.raises(ValueError, match="`data/train`, row 1: expected a text in 'text', got int"):
        list(saved_splits({"train": [{"text": 3}]}, "data")["train"])
    with pytest.raises(ValueError, match="`topic`: expected a value in every text, got null in"):
        by_field("topic", [1])({"text": "a", "topic": None})
    assert by_field("topic", [1, None])({"topic": None})


def test_bytes_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\n')
    assert list(read_corpus(tmp_path / "a.jsonl")["train"]) == [{"text": "a"}]
    (tmp_path / "b.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match=r"b.txt`: expected UTF-8, got other bytes"):
        list(read_corpus(tmp_path / "b.txt")["train"])


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
    (tmp_path / "words.txt").write_text("\ufeffvirus\r\n\r\ngene therapy\r\n", encoding="utf-8", newline="")
    texts = ["A VIRUS.", "Viruses", "antivirus", "the gene therapy", "a gene"]
    for words in (["virus", "gene therapy"], str(tmp_path / "words.txt")):
        is_forget = by_words(words)
        assert [is_forget({"text": text}) for text in texts] == [True, False, False, True, False]
    assert [by_field("topic", [0, 2])(record) for record in RECORDS[:3]] == [True, False, True]
    with pytest.raises(ValueError, match="at least one word"):
        by_words([])
    with pytest.raises(ValueError, match="`world`: expected this field in every text, got one with"):
        by_field("world", ["sea"])(RECORDS[0])


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a":' * 100_000, f'{{"a": {"9" * 5000}}}'])
def test_a_line_that_is_nested_without_end_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl`, line 2: expected a JSON object"):
        [list(records) for records in read_corpus(tmp_path / "a.jsonl").values()]

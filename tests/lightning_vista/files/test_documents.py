import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_vista.files.documents import MAX_DEPTH, DocumentError, parse_json, parse_yaml, read_document, read_yaml


def bomb(levels: int) -> str:
    """Each anchor stands for ten of the one before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(9), "at most 1,000,000 values"),
        ("[" * 100_000, f"at most {MAX_DEPTH} levels"),
        ("{a: " * 100_000, f"at most {MAX_DEPTH} levels"),
        ("- " * 5_000 + "a", f"at most {MAX_DEPTH} levels"),
        ("a: 2020-01-01", "got a date '2020-01-01' .quote it"),
        ("a: !!timestamp 2020-01-01 10:00:00", "a date"),
        ("a: !!binary aGVsbG8=", "binary data"),
        ("a: !!set {x, y}", "a set"),
        ("a: !!omap [x: 1]", "an ordered map"),
        ("a: !!pairs [x: 1]", "pairs"),
        ("a: !!python/object/apply:os.system ['exit']", "python/object/apply"),
        ("a: !own x", "!own"),
        ("a: 1\nb: 2\na: 3", "more than once: a, line 1"),
        ("x: {1: a, 0x1: b}", "more than once: 1"),
        ("yes: 1\ntrue: 2", "more than once: True"),
        ("? [a]\n: b", "texts as keys"),
        ("a: &a [*a]", "contains itself"),
        ("a: *b", "stands for nothing"),
        ("a: " + "9" * 5_000, "4300 digits"),
        ('a: "\\0"', "null byte"),
        ("a: 1\n---\na: 2", "single document"),
        ("a: [1", "expected"),
    ],
)
def test_yaml_of_other_kinds_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "recursion|levels"),
        ('{"a":' * 100_000, "recursion|levels"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), f"at most {MAX_DEPTH} levels"),
        ('[{"a": 1, "b": 2, "a": 3}]', "more than once: a"),
        ("[NaN]", "finite"),
        ('["\\ud800"]', "half"),
        ("1" * 5_000, "4300 digits"),
        ("", "Expecting value"),
    ],
)
def test_json_of_other_kinds_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        parse_json(text)


def plain(rng: random.Random, depth: int = 0) -> Any:
    if depth < 4 and rng.random() < 0.6:
        keys = [rng.choice("abcdé") + str(number) for number in range(rng.randrange(4))]
        if rng.random() < 0.5:
            return {key: plain(rng, depth + 1) for key in keys}
        return [plain(rng, depth + 1) for _ in keys]
    return rng.choice([None, True, False, 3, -2.5, "", "a: b", "2020-01-01", "yes", "über", "1e3", "*x", "=1"])


def test_plain_data_comes_back() -> None:
    rng = random.Random(0)
    for _ in range(100):
        value = plain(rng)
        assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value


def test_anchors_and_merged_mappings_are_read() -> None:
    text = "base: &base {x: 1, y: 2}\none: {<<: *base, y: 3}\ntwo: [*base, *base]"
    assert parse_yaml(text) == yaml.safe_load(text)


def test_files_are_measured_before_they_are_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: " + "x" * 100)
    assert read_document(path, 200).startswith("a: x")
    with pytest.raises(DocumentError, match="at most 50 bytes"):
        read_document(path, 50)
    with pytest.raises(DocumentError, match=r"a\.yaml cannot be read: .*at most 50 bytes"):
        read_yaml(path, 50)
    path.write_bytes(b"a: \xff")
    with pytest.raises(DocumentError, match=r"a\.yaml cannot be read: not UTF-8"):
        read_yaml(path)

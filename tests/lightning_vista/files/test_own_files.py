import errno
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from lightning_vista.files.own_files import (
    EMPTY_SEAL,
    DamagedFileError,
    from_sealed_json,
    is_sealed,
    read_cached,
    seal,
    to_sealed_json,
    write_cached,
    write_csv,
    write_sealed_json,
    write_whole,
    written_whole,
)
from lightning_vista.files.run_files import check_config, sealed_config

pytestmark = pytest.mark.portable


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.txt"
    write_whole(path, "one\r\n")
    assert path.read_bytes() == b"one\r\n"
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117, PT012
        with written_whole(path) as temporary:
            temporary.write_text("two")
            raise KeyboardInterrupt
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]
    assert path.read_bytes() == b"one\r\n"


@pytest.mark.parametrize("name", ["日" * 85, "x" * 255, "é" * 127])
def test_a_file_may_have_the_longest_name(name: str, tmp_path: Path) -> None:
    write_whole(tmp_path / name, "a")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device \(free some space.*a\.txt'") as caught:  # noqa: SIM117
        with written_whole(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="b.txt"):
        write_whole(tmp_path / "file" / "b.txt", "")


def test_an_error_about_the_source_of_a_copy_names_the_source(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source.txt"):  # noqa: SIM117
        with written_whole(tmp_path / "a.txt") as temporary:
            temporary.write_bytes((tmp_path / "source.txt").read_bytes())


def test_every_change_breaks_a_seal() -> None:
    content = seal(b"first\n" + EMPTY_SEAL.encode() + b"\nlast")
    assert is_sealed(content, "a", "")
    assert not is_sealed(b"anything", "a", "")
    mark = range(len("first\n"), len("first\n") + len("lightning-vista-sha256:"))
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        if place in mark or changed[29:93].strip(b"0123456789abcdef"):
            assert not is_sealed(changed, "a", "")  # no mark is left; formats tell by their version
            continue
        with pytest.raises(DamagedFileError, match="a is damaged: its content does not match its checksum. Remove it."):
            is_sealed(changed, "a", "Remove it.")


@pytest.mark.parametrize("other", [EMPTY_SEAL, seal(EMPTY_SEAL.encode()).decode()])
def test_text_that_looks_like_a_seal_does_no_harm(other: str) -> None:
    content = to_sealed_json({"note": other}, 1)
    assert from_sealed_json(content, "a", version=1, remedy="")["note"] == other


def test_a_document_in_a_file_has_the_bytes_of_one_in_memory(tmp_path: Path) -> None:
    @dataclass
    class Point:
        x: int
        names: tuple[str, ...]

    document = {"points": [Point(1, ("ä",)), Point(2, ())], "none": None}
    write_sealed_json(tmp_path / "a" / "b.json", document, 3)
    content = (tmp_path / "a" / "b.json").read_bytes()
    plain = {"points": [{"x": 1, "names": ["ä"]}, {"x": 2, "names": []}], "none": None}
    assert content == to_sealed_json(document, 3) == to_sealed_json(plain, 3)
    assert from_sealed_json(content, "b.json", version=3, remedy="") == {"version": 3, **plain}
    sealed = {"version": 3, **plain, "seal": EMPTY_SEAL}
    assert content == seal((json.dumps(sealed, indent=1, ensure_ascii=False) + "\n").encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "a.json is damaged: it is not JSON"),
        (b"[" * 100_000, "a.json is damaged: it is not JSON"),
        (b"[]", "a.json: expected version 3, got None. Remove it."),
        (b'{"version": true}', "expected version 3, got True"),
        (b'{"version": 4}', "expected version 3, got 4"),
        (b'{"version": 2}', "a.json is damaged: it has no checksum. Remove it."),
    ],
)
def test_what_is_no_sealed_document_is_told(content: bytes, message: str) -> None:
    with pytest.raises(DamagedFileError, match=message):
        from_sealed_json(content, "a.json", version=3, sealed_since=2, remedy="Remove it.")


def test_documents_of_earlier_versions_are_read_without_a_seal() -> None:
    found = from_sealed_json(json.dumps({"version": 1, "a": 2}).encode(), "a", version=3, sealed_since=2, remedy="")
    assert found == {"version": 1, "a": 2}


def test_a_damaged_file_of_a_cache_is_dropped_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert read_cached(path) is None
    write_cached(path, b"content")
    assert read_cached(path) == b"content"
    path.write_bytes(path.read_bytes().replace(b"content", b"kontent"))
    with pytest.warns(UserWarning, match=r"a\.npz is damaged.*It is made again"):
        assert read_cached(path) is None
    path.write_bytes(b"of an earlier release")
    with pytest.warns(UserWarning, match=r"a\.npz has no checksum. It is made again"):
        assert read_cached(path) is None


def test_a_table_has_the_line_ends_that_are_asked_for(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [["a", "b"], [1, "x,y"]])
    write_csv(tmp_path / "b.csv", [["a"], [None]], line_end="\r\n")
    assert (tmp_path / "a.csv").read_bytes() == b'a,b\n1,"x,y"\n'
    assert (tmp_path / "b.csv").read_bytes() == b'a\r\n""\r\n'


def test_a_changed_configuration_of_a_run_is_refused_until_its_lines_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(sealed_config("a: 1\n"))
    check_config(path)
    edited = path.read_text().replace("a: 1", "a: 2")
    for changed in (edited, edited[:-20], edited.partition("\n")[2], edited[:9], "", edited[80:] + edited[:80]):
        path.write_text(changed)
        with pytest.raises(DamagedFileError, match=r"config\.yaml is damaged.*remove its first and its last line"):
            check_config(path)
    path.write_text("".join(edited.splitlines(keepends=True)[1:-1]))
    check_config(path)
    check_config(tmp_path / "absent.yaml")

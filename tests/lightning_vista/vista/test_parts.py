import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_vista.cli import main
from lightning_vista.files.own_files import DamagedFileError
from lightning_vista.vista.index import ShardError, ShardIndex
from lightning_vista.vista.parts import BuildPart, merge_parts, parse_part, write_part
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.verification import verify_shards


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".build.lock"}


def build_parts(dataset: Path, out: Path, count: int, **options: object) -> list[Path]:
    """Build all parts in folders of their own, the last one first."""
    folders = [out / f"part-{number}" for number in range(1, count + 1)]
    for number, folder in reversed(list(enumerate(folders, start=1))):
        arguments = {"max_shard_mb": 0.008, **options}
        build_shards(dataset / "tasks", dataset / "videos", folder, part=BuildPart(number, count), **arguments)  # type: ignore[arg-type]
    return folders


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_merged_parts_have_the_bytes_of_one_build(dataset: Path, shards: Path, tmp_path: Path, count: int) -> None:
    """Also with more parts than shards, of which some are empty, and in any order."""
    folders = build_parts(dataset, tmp_path, count)
    merged = merge_parts(folders[::-1], tmp_path / "merged")
    assert contents(tmp_path / "merged") == contents(shards)
    assert merged == ShardIndex.read(Storage(tmp_path / "merged"))
    verify_shards(tmp_path / "merged")
    merge_parts(folders, tmp_path / "merged")  # again, which changes nothing
    assert contents(tmp_path / "merged") == contents(shards)


def test_the_commands_give_the_same_bytes(
    dataset: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = [str(dataset / "tasks"), str(dataset / "videos")]
    for number in (1, 2):
        out = str(tmp_path / str(number))
        main(["shards", "build", *source, out, "--max-shard-mb", "0.008", "--part", f"{number}/2"])
    assert "(part 2/2; `shards merge` joins the parts)" in capsys.readouterr().out
    main(["shards", "merge", str(tmp_path / "1"), str(tmp_path / "2"), str(tmp_path / "merged")])
    assert "from 2 part(s)" in capsys.readouterr().out
    assert contents(tmp_path / "merged") == contents(shards)


def test_videos_that_are_left_out_stay_out(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    videos = sorted((copy / "videos").rglob("*.mp4"))
    videos[0].unlink()
    for video in (videos[3], videos[-1]):
        video.write_bytes(b"no video")
    build_shards(copy / "tasks", copy / "videos", tmp_path / "whole", missing="skip", max_shard_mb=0.008)
    merge_parts(build_parts(copy, tmp_path, 3, missing="skip"), tmp_path / "merged")
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    assert len(json.loads((tmp_path / "merged" / "index.json").read_text())["skipped"]) == 3


def test_a_part_that_was_interrupted_is_resumed(dataset: Path, shards: Path, tmp_path: Path) -> None:
    folders = build_parts(dataset, tmp_path, 2)
    (folders[0] / "part-1-of-2.json").unlink()  # as after a kill right before the end
    times = {path: path.stat().st_mtime_ns for path in folders[0].glob("*.tar")}
    assert len(times) > 1
    damaged = min(times)
    damaged.write_bytes(bytes(5000))
    with pytest.raises(FileNotFoundError, match="part-1 holds no finished part"):
        merge_parts(folders, tmp_path / "merged")
    build_parts(dataset, tmp_path, 2)
    assert [path.stat().st_mtime_ns for path in times if path != damaged] == [
        time for path, time in times.items() if path != damaged
    ]
    merge_parts(folders, tmp_path / "merged")
    assert contents(tmp_path / "merged") == contents(shards)


def remove(folders: list[Path]) -> list[Path]:
    return folders[1:]


def repeat(folders: list[Path]) -> list[Path]:
    return [*folders, folders[0]]


def damage_shard(folders: list[Path]) -> list[Path]:
    path = min(folders[1].glob("*.tar"))
    path.write_bytes(path.read_bytes()[:-2000])
    return folders


def damage_list(folders: list[Path]) -> list[Path]:
    path = folders[1] / "part-2-of-2.json"
    path.write_text(path.read_text().replace('"offset": 0', '"offset": 1', 1))
    return folders


def rename_list(folders: list[Path]) -> list[Path]:
    (folders[1] / "part-2-of-2.json").rename(folders[1] / "part-1-of-2.json")
    return folders


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, r"expected all 2 parts, got none of \[1\]"),
        (repeat, r"expected each part once, got \[1\] several times"),
        (damage_shard, r"part-2/\d{6}\.tar is missing or damaged"),
        (damage_list, r"part-2-of-2\.json is damaged"),
        (rename_list, r"part-1-of-2\.json is damaged.*it is part 2 of 2"),
    ],
)
def test_incomplete_or_damaged_parts_are_refused(
    dataset: Path, tmp_path: Path, change: Callable[[list[Path]], list[Path]], message: str
) -> None:
    folders = change(build_parts(dataset, tmp_path, 2))
    with pytest.raises((ShardError, DamagedFileError), match=message):
        merge_parts(folders, tmp_path / "merged")
    assert not (tmp_path / "merged" / "index.json").exists()


def test_parts_of_different_builds_are_refused(dataset: Path, tmp_path: Path) -> None:
    first = build_parts(dataset, tmp_path / "a", 2)
    other = build_parts(dataset, tmp_path / "b", 2, max_shard_mb=0.02)
    with pytest.raises(ShardError, match="2 builds"):
        merge_parts([first[0], other[1]], tmp_path / "merged")
    with pytest.raises(ShardError, match=r"\[2, 3\] parts"):
        merge_parts([first[0], build_parts(dataset, tmp_path / "c", 3)[1]], tmp_path / "merged")


def test_parts_keep_the_split_and_must_agree_on_it(dataset: Path, tmp_path: Path) -> None:
    folders = build_parts(dataset, tmp_path, 2, split="val")
    merge_parts(folders, tmp_path / "merged")
    build_shards(dataset / "tasks", dataset / "videos", tmp_path / "whole", max_shard_mb=0.008, split="val")
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    other = build_parts(dataset, tmp_path / "other", 2, split="test")
    with pytest.raises(ShardError, match="expected parts of one build, got 2 builds"):
        merge_parts([folders[0], other[1]], tmp_path / "mixed")


def test_a_damaged_index_of_an_earlier_merge_is_named(dataset: Path, shards: Path, tmp_path: Path) -> None:
    folders, out = build_parts(dataset, tmp_path, 2), tmp_path / "out"
    merge_parts(folders, out)
    index = out / "index.json"
    index.write_bytes(index.read_bytes().replace(b"We see a ball", b"We see a bell"))
    with pytest.raises(ShardError, match=r"index\.json in .*out is damaged.* with --overwrite"):
        merge_parts(folders, out)
    merge_parts(folders, out, overwrite=True)
    assert contents(out) == contents(shards)


def test_finished_shards_are_not_replaced_unasked(dataset: Path, shards: Path, tmp_path: Path) -> None:
    folders = build_parts(dataset, tmp_path, 2)
    out = tmp_path / "out"
    build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.02)
    before = contents(out)
    with pytest.raises(FileExistsError, match="holds other shards"):
        merge_parts(folders, out)
    assert contents(out) == before
    with pytest.raises(FileExistsError, match="holds shards of other videos|finished build"):
        build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.008, part=BuildPart(1, 2))
    merge_parts(folders, out, overwrite=True)
    assert contents(out) == contents(shards)


def test_lists_that_no_build_wrote_are_not_replaced(dataset: Path, tmp_path: Path) -> None:
    folders, out = build_parts(dataset, tmp_path, 2), tmp_path / "out"
    out.mkdir()
    for name in ("index.json", "part-1-of-2.json"):
        (out / name).write_text('{"name": "my web site"}')
    with pytest.raises(FileExistsError, match="holds index.json, which no build of shards wrote"):
        merge_parts(folders, out, overwrite=True)
    (out / "index.json").unlink()
    with pytest.raises(FileExistsError, match="holds part-1-of-2.json, which"):
        build_shards(dataset / "tasks", dataset / "videos", out, part=BuildPart(1, 2))
    assert contents(out) == {"part-1-of-2.json": b'{"name": "my web site"}'}


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_a_part_is_named_by_number_and_count(text: str) -> None:
    assert parse_part("2/8").file_name == "part-2-of-8.json"
    with pytest.raises(ValueError, match=r"expected NUMBER/PARTS such as 2/8"):
        parse_part(text)


@pytest.mark.parametrize(
    ("number", "count", "message"),
    [
        (1, 30_000_000, r"expected all 30000000 parts, got none of \[2, 3, .*, 11\], and others\."),
        (1, 10**60, r"parts, got none of \[2, 3, .*, 11\], and others\."),
        (3, 2, r"part-3-of-2\.json is damaged .*it is part 3 of 2"),
    ],
)
def test_numbers_of_parts_that_cannot_be_are_refused_at_once(
    shards: Path, tmp_path: Path, number: int, count: int, message: str
) -> None:
    write_part(tmp_path, BuildPart(number, count), ShardIndex.read(Storage(shards)))
    with pytest.raises(ShardError, match=message) as caught:
        merge_parts([tmp_path], tmp_path / "merged")
    assert len(str(caught.value)) < 500


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["part-1-of-1.json", "index.json", "000000.tar"])
def test_a_pipe_is_not_a_part_or_shard(shards: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "shards"
    shutil.copytree(shards, out)
    (out / name).unlink(missing_ok=True)
    os.mkfifo(out / name)
    with pytest.raises(ValueError, match=f"{name}: expected a regular file"):
        merge_parts([out], tmp_path / "merged") if "part" in name else verify_shards(out)

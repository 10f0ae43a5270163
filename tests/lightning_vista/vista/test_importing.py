"""Import of foreign sources: what is read equals what was written by other libraries, and all faults are listed."""

import csv
import gzip
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tiny_data import moving_square

from lightning_vista.cli import main
from lightning_vista.video import encode_mp4
from lightning_vista.vista import read_problem_sets
from lightning_vista.vista.importing import import_problem_sets
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.source_rows import SourceError

NAMES = ("a.mp4", "sub/b.mp4", "c d.mp4")
TEXTS = ("We open the box", "We close the box", "We take the key")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos below a folder."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(NAMES):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encode_mp4(moving_square(seed)))
    return folder


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def imported(source: Path, out: Path, **options: Any) -> dict[str, dict[str, set[str]]]:
    """Import a source, read the result with the official reader, and return the true descriptions of each video."""
    import_problem_sets(source, out, **options)
    sets = read_problem_sets(out / "tasks")
    for problem_set in sets:
        for video in problem_set.videos:
            assert (out / "videos" / problem_set.video_key(video)).is_file()
    return {
        item.id: {video.path: {item.descriptions[label] for label in video.labels} for video in item.videos}
        for item in sets
    }


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json"])
def test_a_table_becomes_one_problem_set(ending: str, clips: Path, tmp_path: Path) -> None:
    rows = [{"video": name, "description": text} for name, text in zip(NAMES, TEXTS, strict=True)]
    table = tmp_path / f"My clips.{ending}"
    if ending == "csv":
        write_csv(table, rows)
    else:
        lines = "\n".join(map(json.dumps, rows)) if ending == "jsonl" else json.dumps(rows)
        table.write_text(lines, encoding="utf-8")
    found = imported(table, tmp_path / "out", videos=clips)
    assert found == {
        "my_clips/foundation/actions/my_clips": {name: {text} for name, text in zip(NAMES, TEXTS, strict=True)}
    }
    (problem_set,) = read_problem_sets(tmp_path / "out/tasks")
    assert set(problem_set.descriptions.values()) == set(TEXTS)
    index = build_shards(tmp_path / "out/tasks", tmp_path / "out/videos", tmp_path / "shards")
    assert "1 problem sets, 3 videos" in index.summary()


def test_sets_levels_kinds_candidates_and_several_labels(clips: Path, tmp_path: Path) -> None:
    rows = [
        {"video": NAMES[0], "description": TEXTS[0], "set": "x", "level": 1, "kind": "properties"},
        {"video": NAMES[0], "description": TEXTS[1], "set": "x", "level": 1, "kind": "properties"},
        {"video": NAMES[1], "description": TEXTS[2], "set": "x", "level": 1, "kind": "properties"},
        {"video": NAMES[0], "description": "First a", "set": "y", "level": 3, "candidates": "First b | First c"},
        {"video": NAMES[2], "description": "Alone", "level": 2, "kind": "permutation", "candidates": "Enola"},
    ]
    found = imported(write_csv(tmp_path / "rows.csv", rows), tmp_path / "out", videos=clips, environment="lab")
    assert found == {
        "lab/foundation/properties/x": {NAMES[0]: set(TEXTS[:2]), NAMES[1]: {TEXTS[2]}},
        "lab/level_3/remix/y": {NAMES[0]: {"First a"}},
        "lab/level_2/permutation/c_d_00005": {NAMES[2]: {"Alone"}},
    }
    kinds = {
        item.id: (item.kind, sorted(item.descriptions.values())) for item in read_problem_sets(tmp_path / "out/tasks")
    }
    assert kinds["lab/foundation/properties/x"][0] == "properties"
    assert kinds["lab/level_3/remix/y"] == ("general", ["First a", "First b", "First c"])


def test_all_bad_rows_are_listed_with_their_lines(clips: Path, tmp_path: Path) -> None:
    rows = [
        {"video": NAMES[0], "description": TEXTS[0]},
        {"video": "none.mp4", "description": TEXTS[1]},
        {"video": NAMES[1], "description": " "},
        {"video": "../a.mp4", "description": TEXTS[1], "level": "two"},
        {"video": NAMES[2], "description": TEXTS[2], "kind": "permutaton"},
    ]
    with pytest.raises(SourceError) as raised:
        import_problem_sets(write_csv(tmp_path / "rows.csv", rows), tmp_path / "out", videos=clips)
    errors = raised.value.errors
    assert [error.split(":")[0] for error in errors[:5]] == ["line 3", "line 4", "line 5", "line 5", "line 6"]
    assert "no such file" in errors[0]
    assert "Did you mean 'permutation'?" in errors[4]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("row", "got"), [("a.mp4", "1"), ("a.mp4,We see, a ball", "more")])
def test_a_row_of_another_width_is_named(row: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"video,description\n{row}\n")
    with pytest.raises(ValueError, match=f"line 2: expected 2 cells, got {got}. Quote cells"):
        import_problem_sets(tmp_path / "rows.csv", tmp_path / "out")


def test_repeated_rows_and_single_descriptions_are_faults(clips: Path, tmp_path: Path) -> None:
    rows = [{"video": NAMES[0], "description": TEXTS[0]}] * 2
    with pytest.raises(SourceError, match="same video and description as line 2") as raised:
        import_problem_sets(write_csv(tmp_path / "rows.csv", rows), tmp_path / "out", videos=clips)
    assert "at least two descriptions" in str(raised.value)


def test_other_column_names_and_their_mistakes(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"clip_file": name, "words": text, "size": 3} for name, text in zip(NAMES, TEXTS, strict=True)]
    table = write_csv(tmp_path / "rows.csv", rows)
    arguments = ["import", str(table), str(tmp_path / "out"), "--videos", str(clips)]
    with pytest.raises(SystemExit, match="expected a column 'video', got the columns clip_file, words, size"):
        main(arguments)
    with pytest.raises(SystemExit, match="Did you mean 'clip_file'"):
        main([*arguments, "--columns", "video=clip_fil", "description=words"])
    main([*arguments, "--columns", "video=clip_file", "description=words"])
    printed = capsys.readouterr().out
    assert "columns that are not read: size" in printed
    assert "1 problem sets, 3 videos" in printed
    with pytest.raises(SystemExit, match="expected no problem sets yet"):
        main([*arguments, "--columns", "video=clip_file", "description=words"])


def test_a_row_that_lacks_a_named_column_is_a_fault_of_its_own(clips: Path, tmp_path: Path) -> None:
    rows = [{"clip_file": NAMES[0], "text": TEXTS[0]}, {"text": TEXTS[1]}, {"clip_file": NAMES[2], "text": TEXTS[2]}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(SourceError) as raised:
        import_problem_sets(tmp_path / "rows.jsonl", tmp_path / "out", videos=clips, columns={"video": "clip_file"})
    assert raised.value.errors == ("line 2: `video`: expected text, got nothing.",)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_take_no_space(clips: Path, tmp_path: Path) -> None:
    rows = [{"video": name, "description": text} for name, text in zip(NAMES, TEXTS, strict=True)]
    imported(write_csv(tmp_path / "rows.csv", rows), tmp_path / "out", videos=clips, link=True)
    assert (tmp_path / "out/videos/rows/a.mp4").samefile(clips / "a.mp4")
    shutil.rmtree(tmp_path / "out/tasks")
    (tmp_path / "out/metadata.csv").unlink()
    imported(tmp_path / "rows.csv", tmp_path / "out", videos=clips, link=True)  # after an interruption
    build_shards(tmp_path / "out/tasks", tmp_path / "out/videos", tmp_path / "shards")


def test_an_interrupted_import_keeps_the_same_videos_and_refuses_others(clips: Path, tmp_path: Path) -> None:
    rows = [{"video": name, "description": text} for name, text in zip(NAMES, TEXTS, strict=True)]
    table, copied = write_csv(tmp_path / "rows.csv", rows), tmp_path / "out/videos/rows"
    copied.mkdir(parents=True)
    (copied / "a.mp4.part").write_text("a user's own")
    (copied / "a.mp4").write_bytes((clips / "a.mp4").read_bytes()[:-1] + b"!")
    with pytest.raises(FileExistsError, match=r"1 file\(s\) of the same names with other bytes:\n.*rows/a.mp4\nGive"):
        import_problem_sets(table, tmp_path / "out", videos=clips)
    assert {path.name for path in copied.iterdir()} == {"a.mp4", "a.mp4.part"}
    (copied / "a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    kept = (copied / "a.mp4").stat().st_mtime_ns
    imported(table, tmp_path / "out", videos=clips)
    assert (copied / "a.mp4").stat().st_mtime_ns == kept
    assert (copied / "a.mp4.part").read_text() == "a user's own"
    assert {path.name for path in copied.iterdir()} == {"a.mp4", "a.mp4.part", "sub", "c d.mp4"}


def test_a_table_beside_which_the_problem_sets_would_go_is_kept(clips: Path, tmp_path: Path) -> None:
    rows = [{"video": name, "description": text} for name, text in zip(NAMES, TEXTS, strict=True)]
    table = write_csv(tmp_path / "metadata.csv", rows)
    before = table.read_bytes()
    with pytest.raises(FileExistsError, match="metadata.csv: expected no problem sets yet"):
        import_problem_sets(table, tmp_path, videos=clips)
    assert table.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_in_datasets_of_others_stay_inside(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models/snapshots/0a1b"
    folder.mkdir(parents=True)
    rows = [{"video": name, "description": text} for name, text in zip(("a.mp4", "c d.mp4"), TEXTS, strict=False)]
    for row in rows:
        (folder / row["video"]).symlink_to(clips / row["video"])
    table = write_csv(folder / "metadata.csv", rows)
    with pytest.raises(SourceError, match="a.mp4: a link that leaves .*--videos"):
        import_problem_sets(folder, tmp_path / "no")
    pair = {"pos_vid": "a.mp4", "neg_vid": "c d.mp4", "pos_cap": TEXTS[0], "neg_cap": TEXTS[1]}
    (folder / "pairs.json").write_text(json.dumps([pair]), encoding="utf-8")
    with pytest.raises(SourceError, match="a.mp4: a link that leaves"):
        import_problem_sets(folder / "pairs.json", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    imported(folder, tmp_path / "named", videos=folder)
    imported(table, tmp_path / "own")  # a table of the user's own
    table.rename(tmp_path / "metadata.csv")
    table.symlink_to(tmp_path / "metadata.csv")
    with pytest.raises(ValueError, match="metadata.csv: expected a file inside .*, got a link that leaves it"):
        import_problem_sets(folder, tmp_path / "no", videos=folder)
    table.unlink()
    table.write_bytes((tmp_path / "metadata.csv").read_bytes())
    # The cache of Hugging Face has links to the files beside its snapshots.
    (tmp_path / "models/blobs").mkdir()
    for row in rows:
        blob = tmp_path / "models/blobs" / f"{row['video']}0"
        blob.write_bytes((clips / row["video"]).read_bytes())
        (folder / row["video"]).unlink()
        (folder / row["video"]).symlink_to(blob)
    imported(folder, tmp_path / "cached")


def video_folder(folder: Path, parts: tuple[str, str, str], clips: Path) -> Path:
    """A video folder of Hugging Face with metadata in each of its parts."""
    for part, name, text in zip(parts, NAMES, TEXTS, strict=True):
        target = folder / part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((clips / name).read_bytes())
        with (folder / part / "metadata.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"file_name": name, "text": text}) + "\n")
    return folder


def test_a_video_folder_of_hugging_face(clips: Path, tmp_path: Path) -> None:
    parts = ("day", "day", "latest/night")
    found = imported(video_folder(tmp_path / "videofolder", parts, clips), tmp_path / "out")
    pairs = {f"{part}/{name}": {text} for part, name, text in zip(parts, NAMES, TEXTS, strict=True)}
    assert found == {"videofolder/foundation/actions/videofolder": pairs}


@pytest.mark.parametrize("other", ["test", "data/Validation", "my_eval2", "dev set"])
@pytest.mark.parametrize("first", ["train", "one"])
def test_a_video_folder_of_several_splits_is_refused(first: str, other: str, clips: Path, tmp_path: Path) -> None:
    folder = video_folder(tmp_path / "videofolder", (first, first, other), clips)
    with pytest.raises(ValueError, match=r"expected one split, got several: (test, train|train, validation)\. Give"):
        import_problem_sets(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(*imported(folder / first, tmp_path / "out").values()) == 2


@pytest.mark.parametrize("other", ["train", "test", "clips/Test"])
def test_one_table_whose_videos_lie_in_folders_of_several_splits(other: str, clips: Path, tmp_path: Path) -> None:
    folder = video_folder(tmp_path / "videofolder", ("train", "train", other), clips)
    lines = []
    for table in sorted(folder.rglob("metadata.jsonl")):
        for row in map(json.loads, table.read_text(encoding="utf-8").splitlines()):
            lines.append(
                json.dumps({**row, "file_name": (table.parent / row["file_name"]).relative_to(folder).as_posix()})
            )
        table.unlink()
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    if other == "train":
        assert len(*imported(folder, tmp_path / "out").values()) == 3
        return
    with pytest.raises(ValueError, match=r"expected one split, got several: test, train\."):
        import_problem_sets(folder, tmp_path / "out")


@pytest.mark.parametrize("ending", ["parquet", "tar"])
def test_shards_of_several_splits_are_refused(ending: str, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, name, text in zip(("train", "train", "test"), NAMES, TEXTS, strict=True):
        shard = folder / f"{split}-{TEXTS.index(text):05d}.{ending}"
        if ending == "parquet":
            pl.DataFrame({"video": [name], "caption": [text]}).write_parquet(shard)
        else:
            add_members(shard, {f"{shard.stem}.mp4": (clips / name).read_bytes(), f"{shard.stem}.txt": text.encode()})
    with pytest.raises(ValueError, match=r"data: expected one split, got several: test, train\. .* into a new one"):
        import_problem_sets(folder, tmp_path / "out", videos=clips)
    (tmp_path / "test").mkdir()
    shutil.move(next(folder.glob("test-*")), tmp_path / "test")
    assert len(*imported(folder, tmp_path / "out", videos=clips).values()) == 2


def add_members(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_a_line_ends_where_json_lines_say(character: str, newline: str, clips: Path, tmp_path: Path) -> None:
    """Texts may hold other line separators, which JSON need not escape."""
    first = {"video": NAMES[0], "description": f"We open{character}the box"}
    rows = (first, {"video": NAMES[1], "text": TEXTS[1]}, {"video": "n"})
    lines = newline.join(json.dumps(row, ensure_ascii=False) for row in rows) + newline
    (tmp_path / "rows.jsonl").write_bytes(lines.encode())
    with pytest.raises(SourceError) as raised:
        import_problem_sets(tmp_path / "rows.jsonl", tmp_path / "out", videos=clips)
    assert {error.split(":")[0] for error in raised.value.errors} == {"line 3"}
    (tmp_path / "rows.jsonl").write_bytes(newline.join(lines.split(newline)[:2]).encode())
    (found,) = imported(tmp_path / "rows.jsonl", tmp_path / "out", videos=clips).values()
    assert found == {NAMES[0]: {"We open the box"}, NAMES[1]: {TEXTS[1]}}


@pytest.mark.parametrize("held", [True, False])
def test_parquet_files_with_bytes_or_paths(held: bool, clips: Path, tmp_path: Path) -> None:
    cells = [{"bytes": (clips / name).read_bytes() if held else None, "path": name} for name in NAMES]
    (tmp_path / "data/data").mkdir(parents=True)
    pl.DataFrame({"video": cells, "caption": list(TEXTS)}).write_parquet(tmp_path / "data/data/test-00000.parquet")
    found = imported(tmp_path / "data", tmp_path / "out", videos=None if held else clips)
    assert found == {"data/foundation/actions/data": {name: {text} for name, text in zip(NAMES, TEXTS, strict=True)}}
    for name in NAMES:
        assert (tmp_path / "out/videos/data" / name).read_bytes() == (clips / name).read_bytes()


def test_a_dataset_that_the_library_has_saved(clips: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns = {"video": [str(clips / name) for name in NAMES], "label": [0, 1, 2]}
    label = datasets.ClassLabel(names=list(TEXTS))
    options = {"columns": {"description": "label"}, "environment": "saved"}
    wanted = dict(zip(NAMES, ({text} for text in TEXTS), strict=True))
    # With a feature of its own the library stores the videos and the last part of their names, else their paths.
    for name, feature in (("held", datasets.Video(decode=False)), ("named", datasets.Value("string"))):
        saved = datasets.Dataset.from_dict(columns, features=datasets.Features({"video": feature, "label": label}))
        saved.save_to_disk(str(tmp_path / name))
    (found,) = imported(tmp_path / "held", tmp_path / "a", **options).values()
    assert found == {Path(name).name: texts for name, texts in wanted.items()}
    assert (tmp_path / "a/videos/saved/a.mp4").read_bytes() == (clips / "a.mp4").read_bytes()
    (found,) = imported(tmp_path / "named", tmp_path / "b", **options, videos=clips).values()
    assert found == wanted
    with pytest.raises(SourceError, match=r"row 1: `video`: expected a path inside"):
        imported(tmp_path / "named", tmp_path / "c", **options)


def test_shards_of_webdataset(clips: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    (tmp_path / "tars").mkdir()
    with webdataset.TarWriter(str(tmp_path / "tars/000.tar")) as tar:
        tar.write({"__key__": "x/one", "mp4": (clips / NAMES[0]).read_bytes(), "txt": TEXTS[0]})
        tar.write({"__key__": "two", "mp4": (clips / NAMES[1]).read_bytes(), "json": {"caption": TEXTS[1], "level": 1}})
    found = imported(tmp_path / "tars", tmp_path / "out")
    assert found == {"tars/foundation/actions/tars": {"x/one.mp4": {TEXTS[0]}, "two.mp4": {TEXTS[1]}}}
    assert (tmp_path / "out/videos/tars/two.mp4").read_bytes() == (clips / NAMES[1]).read_bytes()


def test_a_broken_sample_of_webdataset_is_named(tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/000.tar", "w") as tar:
        for name, data in (("a.txt", b"text"), ("b.mp4", b"x"), ("c.mp4", b"x"), ("c.json", b"{")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(SourceError) as raised:
        import_problem_sets(tmp_path / "tars", tmp_path / "out")
    assert [error.split(":")[0] for error in raised.value.errors] == [f"sample {key} of 000.tar" for key in "abc"]


@pytest.mark.parametrize("answer", ["open it", 1, "B", "(B)"])
def test_questions_with_candidates(answer: object, clips: Path, tmp_path: Path) -> None:
    question = {"video": NAMES[0], "question": "What is next?", "candidates": ["close it", "open it"], "answer": answer}
    (tmp_path / "mvbench.json").write_text(json.dumps([question, question]), encoding="utf-8")
    found = imported(tmp_path / "mvbench.json", tmp_path / "out", videos=clips)
    ids = [f"mvbench/foundation/actions/question_{number}" for number in (1, 2)]
    assert found == {id: {NAMES[0]: {"What is next? open it"}} for id in ids}


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        ([{"id": "v"}, {"id": "v"}, {"id": "v_2"}], ["v", "v_2", "v_2_2"]),
        ([{"index": 0}, {"index": 0}, {"index": " 0"}], ["0", "0_2", "0_3"]),
        ([{"id": None}, {"id": ""}, {"id": None, "index": 7}], ["1", "2", "7"]),
        ([{}, {"id": 1}, {"id": 3}], ["1", "1_2", "3"]),
    ],
)
def test_every_question_is_a_set_of_its_own(
    ids: list[dict[str, object]], names: list[str], clips: Path, tmp_path: Path
) -> None:
    """Many files give the id of the video, or count from 0 in each of the files that were joined."""
    words = ("box", "door", "key")
    rows = [
        {**own, "video": NAMES[0], "question": f"{word}?", "candidates": ["yes", "no"], "answer": "no"}
        for own, word in zip(ids, words, strict=True)
    ]
    (tmp_path / "q.json").write_text(json.dumps(rows), encoding="utf-8")
    found = imported(tmp_path / "q.json", tmp_path / "out", videos=clips)
    assert found == {
        f"q/foundation/actions/question_{name}": {NAMES[0]: {f"{word}? no"}}
        for name, word in zip(names, words, strict=True)
    }


COUNTS: dict[str, Any] = {"candidates": [2, 3, 4, 5], "answer": 3}


@pytest.mark.parametrize(
    ("others", "answer"),
    [
        ([{"candidates": [1, 2, 3, 4], "answer": 4}], "3"),  # 4 is not a number from 0
        ([{"candidates": ["a box", "a door"], "answer": "a box"}], "3"),
        ([{"candidates": ["a box", "a door"], "answer": 1}], "5"),
        ([{"candidates": ["a box", "a door"], "answer": "B"}, {"candidates": [1, 0], "answer": 1}], "5"),
        ([{"candidates": [False, True], "answer": True}], "3"),
    ],
)
def test_an_answer_that_may_be_a_candidate_or_a_number_is_read_as_the_others(
    others: list[dict[str, Any]], answer: str, clips: Path, tmp_path: Path
) -> None:
    rows = [{**row, "video": NAMES[0]} for row in (COUNTS, *others)]
    (tmp_path / "q.json").write_text(json.dumps(rows), encoding="utf-8")
    found = imported(tmp_path / "q.json", tmp_path / "out", videos=clips)
    assert found["q/foundation/actions/question_1"] == {NAMES[0]: {answer}}


@pytest.mark.parametrize(
    "others",
    [
        [],
        [{"candidates": [0, 1, 2], "answer": 1}],  # the same either way
        [{"candidates": ["a", "b"], "answer": "a"}, {"candidates": ["a", "b"], "answer": 0}],
    ],
)
def test_an_answer_that_nothing_decides_is_a_fault(others: list[dict[str, Any]], clips: Path, tmp_path: Path) -> None:
    letters: dict[str, Any] = {"candidates": ["B", "A"], "answer": "B"}
    rows = [{**row, "video": NAMES[0]} for row in (COUNTS, letters, *others)]
    (tmp_path / "q.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(SourceError) as raised:
        import_problem_sets(tmp_path / "q.json", tmp_path / "out", videos=clips)
    assert [error.split(":")[0] for error in raised.value.errors] == ["entry 1", "entry 2"]
    assert "got 3, which is the candidate '3' and the place of '5'" in raised.value.errors[0]
    assert "Write its number from 0." in raised.value.errors[1]


def test_a_yes_is_not_a_number(clips: Path, tmp_path: Path) -> None:
    row = {"video": NAMES[0], "candidates": ["yes", "no"], "answer": True}
    (tmp_path / "q.json").write_text(json.dumps([row]), encoding="utf-8")
    with pytest.raises(SourceError, match="expected one of the candidates, its number or its letter, got True"):
        import_problem_sets(tmp_path / "q.json", tmp_path / "out", videos=clips)


def test_pairs_of_videos_and_captions(clips: Path, tmp_path: Path) -> None:
    pair = {"index": 7, "pos_vid": NAMES[0], "neg_vid": NAMES[1], "pos_cap": TEXTS[0], "neg_cap": TEXTS[1]}
    other = {"index": 7, "videos": [NAMES[1], NAMES[2]], "captions": [TEXTS[1], TEXTS[2]]}
    (tmp_path / "pairs.json").write_text(json.dumps({"test": [pair, other]}), encoding="utf-8")
    found = imported(tmp_path / "pairs.json", tmp_path / "out", videos=clips)
    assert found == {
        "pairs/foundation/actions/pair_7": {NAMES[0]: {TEXTS[0]}, NAMES[1]: {TEXTS[1]}},
        "pairs/foundation/actions/pair_7_2": {NAMES[1]: {TEXTS[1]}, NAMES[2]: {TEXTS[2]}},
    }


def test_broken_questions_are_listed(clips: Path, tmp_path: Path) -> None:
    good = {"video": NAMES[0], "question": "?", "candidates": ["a", "b"], "answer": "a"}
    rows = [
        good,
        {**good, "answer": "c"},
        {**good, "candidates": ["a"]},
        {**good, "start": 2.0},
        {**good, "video": "n"},
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(SourceError) as raised:
        import_problem_sets(tmp_path / "q.jsonl", tmp_path / "out", videos=clips)
    assert [error.split(":")[0] for error in raised.value.errors] == ["line 2", "line 3", "line 4", "line 5"]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 1000, f"[{'[' * 100}{']' * 100}]", "9" * 5000])
def test_a_table_that_is_nested_without_end_is_named(ending: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"table.{ending}"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"table\.{ending}.*: expected (a )?JSON"):
        import_problem_sets(path, tmp_path / "out")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("size", [-512, -1, -(2**40)])
def test_a_negative_size_in_a_shard_is_named(size: int, tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("a.mp4").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + (256**11 + size).to_bytes(11, "big")
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "000.tar").write_bytes(header + bytes(4096))
    with pytest.raises(ValueError, match=r"000\.tar: expected a whole tar file"):
        import_problem_sets(tmp_path / "000.tar", tmp_path / "out")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["metadata.jsonl", "000.tar"])
def test_a_pipe_is_not_a_source(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: expected a regular file"):
        import_problem_sets(tmp_path, tmp_path / "out")


def test_a_nested_description_of_a_sample_is_a_fault(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "000.tar", "w") as tar:
        for name, data in (("a.mp4", b"x"), ("a.json", b"[" * 100_000)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(SourceError, match=r"sample a of 000\.tar: expected a JSON object"):
        import_problem_sets(tmp_path / "000.tar", tmp_path / "out")


def test_files_of_a_shard_that_grow_when_they_are_read_are_faults(tmp_path: Path) -> None:
    """Holes, a description of 60 MB, and a compressed shard: all are small on the disk."""
    holes, long = tarfile.TarInfo("a.mp4"), tarfile.TarInfo("b.txt")
    holes.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "1000000000000"}
    long.size = 60_000_000
    with tarfile.open(tmp_path / "000.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(holes)
        tar.addfile(tarfile.TarInfo("b.mp4"))
        tar.addfile(long, io.BytesIO(bytes(long.size)))
    with pytest.raises(SourceError) as raised:
        import_problem_sets(tmp_path / "000.tar", tmp_path / "out")
    assert [error.split(", got")[0] for error in raised.value.errors] == [
        "sample a of 000.tar: expected plain files",
        "sample b of 000.tar: expected at most 50,000,000 bytes in b.txt",
    ]
    (tmp_path / "gz.tar").write_bytes(gzip.compress((tmp_path / "000.tar").read_bytes()))
    with pytest.raises(ValueError, match=r"gz\.tar: expected a whole tar file, not compressed"):
        import_problem_sets(tmp_path / "gz.tar", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "video,description\na.mp4,café\n".encode("latin-1"), "rows.csv: expected text in UTF-8, got"),
        ("rows.csv", "video,description\na.mp4,one\n".encode("utf-16"), "rows.csv: expected text in UTF-8, got"),
        ("rows.jsonl", '{"video": "a.mp4", "description": "café"}'.encode("latin-1"), "rows.jsonl: expected text in"),
        ("rows.csv", b"video,description\na.mp4," + b"x" * 200_000, "rows.csv: expected CSV, got: field larger than"),
        ("rows.csv", b"video,description,description\na.mp4,one,two\n", "expected different columns, got description"),
        ("rows.jsonl", b'{"video": "a.mp4", "description": "one", "hint": 5}', "line 1: `hint`: expected text, got 5."),
        ("rows.csv", b"video,description\na.mp4,a\0b\n", "line 2: expected texts without null bytes, got 'a.x00b'"),
        ("rows.csv", b'video,description\n"new\nline.mp4",one\n', "expected a name inside the source, of printable"),
        ("rows.csv", b"video,description,set\na.mp4,one," + b"s" * 201 + b"\n", "`set`: expected at most 200 bytes"),
    ],
)
def test_what_the_official_layout_cannot_hold_is_refused_before_anything_is_written(
    name: str, content: bytes, message: str, clips: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    (videos / "new\nline.mp4").write_bytes(b"x")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        import_problem_sets(tmp_path / name, tmp_path / "out", videos=videos)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("environment", ["../x", "a/b", ".", "a\nb", "-x", "x" * 201])
def test_an_environment_is_the_name_of_a_folder(environment: str, clips: Path, tmp_path: Path) -> None:
    rows = [{"video": "a.mp4", "description": "one"}, {"video": "c d.mp4", "description": "two"}]
    with pytest.raises(ValueError, match="`environment`: expected "):
        import_problem_sets(
            write_csv(tmp_path / "rows.csv", rows), tmp_path / "out", videos=clips, environment=environment
        )


@pytest.mark.parametrize("stem", ["日" * 83, "x" * 250])
def test_names_may_be_as_long_as_file_systems_permit(stem: str, clips: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(clips / "a.mp4", videos / f"{stem}.mp4")
    rows = [{"video": f"{stem}.mp4", "description": TEXTS[0], "candidates": f"{TEXTS[1]}|{TEXTS[2]}"}]
    found = imported(write_csv(tmp_path / f"{stem}.csv", rows), tmp_path / "out", videos=videos)
    assert list(found.values()) == [{f"{stem}.mp4": {TEXTS[0]}}]


def test_shards_made_of_a_folder_named_by_a_dot(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/000.tar", "w") as tar:  # as `tar cf 000.tar .` and `tar cf 000.tar x//a.mp4` do
        for name, text in (("./one", TEXTS[0]), ("x//two", TEXTS[1])):
            for ending, data in (("mp4", (clips / "a.mp4").read_bytes()), ("txt", text.encode())):
                info = tarfile.TarInfo(f"{name}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    found = imported(tmp_path / "tars", tmp_path / "out")
    assert found == {"tars/foundation/actions/tars": {"one.mp4": {TEXTS[0]}, "x/two.mp4": {TEXTS[1]}}}


def test_parquet_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_text("not parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet: expected a parquet file: .* Fetch it again"):
        import_problem_sets(tmp_path, tmp_path / "out")
    pl.DataFrame({"video": [{"bytes": b"x"}], "caption": ["one"]}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet: expected videos as paths .* got no path in 'video'"):
        import_problem_sets(tmp_path, tmp_path / "out")


def test_a_hint_is_read(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"video": name, "description": text, "hint": "Look!"} for name, text in zip(NAMES, TEXTS, strict=True)]
    (problem_set,) = import_problem_sets(write_csv(tmp_path / "rows.csv", rows), tmp_path / "out", videos=clips)
    assert problem_set.hint == "Look!"
    assert "not read" not in capsys.readouterr().out

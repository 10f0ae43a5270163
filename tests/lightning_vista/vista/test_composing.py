"""Composed sequences show what their descriptions say, in that order; leaks are what a viewer could answer."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_vista.cli import main
from lightning_vista.commands.compose_command import parse_levels
from lightning_vista.video import FrameSpec, decode_video, encode_mp4
from lightning_vista.vista import ProblemSets, read_problem_sets
from lightning_vista.vista.composing import clip_frames, compose_problem_sets
from lightning_vista.vista.sequence_plans import held_out_pairs, plan_sets
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.source_rows import SourceError
from lightning_vista.vista.step_clips import StepClip, read_step_clips

#: A colour for each step, so that a composed video can be read back.
COLOURS = {
    "show black": np.array((20, 20, 20)),
    "show red": np.array((220, 20, 20)),
    "show green": np.array((20, 200, 20)),
    "show blue": np.array((20, 20, 220)),
    "show white": np.array((235, 235, 235)),
    "show yellow": np.array((220, 220, 20)),
    "show cyan": np.array((20, 220, 220)),
    "show pink": np.array((220, 20, 220)),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of each of eight steps, of different sizes, rates and lengths."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for number, (step, colour) in enumerate(COLOURS.items()):
        for take in range(3):
            height, width = ((32, 48), (48, 32), (40, 40))[take]
            frames = np.empty((8 + 2 * take, height, width, 3), dtype=np.uint8)
            frames[:] = colour
            (folder / f"{number}_{take}.mp4").write_bytes(encode_mp4(frames, fps=(4, 8, 16)[take]))
            rows.append((f"{number}_{take}.mp4", f"We {step}." if take else step))
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "step"), *rows])
    return folder / "clips.csv"


def shown(path: Path) -> list[str]:
    """Read the steps of a composed video from its colours."""
    frames = decode_video(path.read_bytes(), FrameSpec(64)).frames.float()
    middles = frames[:, :, frames.shape[2] // 2, frames.shape[3] // 2].numpy()
    names = [min(COLOURS, key=lambda name: float(np.abs(COLOURS[name] - pixel).sum())) for pixel in middles]
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def described(text: str) -> list[str]:
    """Read the steps of a description in their order."""
    found = {text.find(step): step for step in COLOURS if step in text}
    return [found[place] for place in sorted(found)]


@pytest.fixture(scope="module")
def composed(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("composed")
    compose_problem_sets(
        table, out, levels=[1, 2, 3, 4, 5], splits=["train", "test"], num_sets=3, candidates=4, size=32, seed=1
    )
    return out


def problem_sets(composed: Path, split: str) -> ProblemSets:
    return read_problem_sets(composed / split / "tasks")


@pytest.mark.parametrize("split", ["train", "test"])
def test_videos_show_their_descriptions(composed: Path, split: str) -> None:
    for item in problem_sets(composed, split):
        for video in item.videos:
            (label,) = video.labels
            steps = described(item.descriptions[label])
            assert shown(composed / split / "videos" / item.video_key(video)) == steps
            assert len(set(steps)) == item.level


def test_descriptions_are_worded_as_in_the_paper(composed: Path) -> None:
    texts = {item.level: set(item.descriptions.values()) for item in problem_sets(composed, "test")}
    assert all(text.startswith("We show ") for text in texts[1])
    assert all(", then we " in text and ", and finally we " in text for text in texts[3])


def test_all_videos_of_a_set_are_equally_long_and_encoded_alike(composed: Path) -> None:
    for item in problem_sets(composed, "test"):
        clips = [
            decode_video((composed / "test/videos" / item.video_key(video)).read_bytes(), FrameSpec(2, size=None))
            for video in item.videos
        ]
        assert len({len(clip.all_times) for clip in clips}) == 1
        assert {clip.frames.shape[2:] for clip in clips} == {torch.Size([32, 32])}
        assert all(abs(clip.all_times[1] - 1 / 8) < 1e-6 for clip in clips)


def test_permutations_differ_by_one_swap_and_general_sets_by_steps(composed: Path) -> None:
    for item in problem_sets(composed, "test"):
        orders = [described(text) for text in item.descriptions.values()]
        if item.kind == "permutation":
            assert len({frozenset(order) for order in orders}) == 1
            assert len(orders) == (3 if item.level in (3, 5) else 2)
            if item.level >= 4:  # ends say nothing
                assert len({(order[0], order[-1]) for order in orders}) == 1
        elif item.kind == "general":
            assert len({frozenset(order) for order in orders}) == len(orders) >= 2


def test_held_out_pairs_occur_only_where_the_set_says_so(composed: Path) -> None:
    pairs = held_out_pairs(sorted(COLOURS), 5, seed=1)
    assert len(pairs) == 2
    counts = {True: 0, False: 0}
    for split in ("train", "test"):
        for item in problem_sets(composed, split):
            if item.level == 1:
                continue
            is_held_out = bool((item.extra.get("metadata") or {}).get("held_out"))
            counts[is_held_out] += 1
            for text in item.descriptions.values():
                assert any(pair <= set(described(text)) for pair in pairs) == is_held_out
            assert not (split == "train" and is_held_out)
    assert counts == {True: 8, False: 40}


def test_a_single_held_out_pair_is_left_to_sets_that_have_a_choice() -> None:
    clips = {step: [StepClip("line 1", Path(f"{step}.mp4"), step)] for step in "abcde"}
    options: Any = {"num_sets": 3, "candidates": 4, "held_out": {frozenset("ab")}, "test": True, "seed": "0"}
    plans = plan_sets(clips, [2, 3], ["general", "permutation"], **options)
    held_out = {(plan.level, plan.kind) for plan in plans if plan.held_out}
    assert held_out == {(2, "permutation"), (3, "general"), (3, "permutation")}
    assert all(len(plan.tasks) > 1 for plan in plans)


def test_no_clip_is_in_two_splits(table: Path) -> None:
    from lightning_vista.vista.step_clips import divide_clips

    divided = divide_clips(read_step_clips(table), ["train", "val", "test"], seed=3)
    files = {split: {clip.file for clip in clips} for split, clips in divided.items()}
    assert sum(map(len, files.values())) == len(set.union(*files.values())) == 24
    assert all({clip.step for clip in clips} == set(COLOURS) for clips in divided.values())


def test_leaks_are_what_partial_viewers_could_answer(composed: Path) -> None:
    with (composed / "test/leaks.csv").open() as file:
        rows = {row["problem_set"]: row for row in csv.DictReader(file)}
    for item in problem_sets(composed, "test"):
        orders = {label: described(text) for label, text in item.descriptions.items()}
        cues: dict[str, Callable[[list[str]], Any]] = {
            "first": lambda o: o[0],
            "last": lambda o: o[-1],
            "unordered": lambda o: sorted(o),
        }
        for name, cue in cues.items():
            expected = np.mean([
                1 / [cue(order) for order in orders.values()].count(cue(orders[video.labels[0]]))
                for video in item.videos
            ])  # fmt: skip
            assert float(rows[item.id][name]) == pytest.approx(expected)
        if item.kind == "permutation":
            assert float(rows[item.id]["unordered"]) == pytest.approx(1 / len(orders))


def test_the_same_seed_gives_the_same_bytes_and_builds_shards(table: Path, tmp_path: Path) -> None:
    trees = []
    for name in ("a", "b"):
        compose_problem_sets(table, tmp_path / name, levels=[2], num_sets=1, size=32)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        trees.append({path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in files})
    assert trees[0] == trees[1]
    index = build_shards(tmp_path / "a/test/tasks", tmp_path / "a/test/videos", tmp_path / "shards")
    assert "2 problem sets" in index.summary()


def test_a_damaged_video_of_an_interrupted_call_is_composed_again(table: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"levels": [2], "num_sets": 1, "kinds": ["permutation"], "size": 32}
    compose_problem_sets(table, tmp_path, **options)
    videos = sorted((tmp_path / "test/videos/composed").iterdir())
    before = [path.read_bytes() for path in videos]
    shutil.rmtree(tmp_path / "test/tasks")
    with pytest.raises(FileExistsError, match="metadata.csv: expected no problem sets yet"):
        compose_problem_sets(table, tmp_path, **options)
    (tmp_path / "test/metadata.csv").unlink()
    (tmp_path / "test/videos/composed" / f"{videos[0].stem}.part").write_text("a user's own")
    videos[0].write_bytes(before[1][:-1] + b"0")
    kept = videos[1].stat().st_mtime_ns
    with pytest.warns(UserWarning, match=f"{videos[0].name}.*made again"):
        compose_problem_sets(table, tmp_path, **options)
    assert [path.read_bytes() for path in videos] == before
    assert videos[1].stat().st_mtime_ns == kept
    assert (tmp_path / "test/videos/composed" / f"{videos[0].stem}.part").read_text() == "a user's own"


def test_a_part_of_a_clip_is_cut_at_its_seconds(tmp_path: Path) -> None:
    frames = np.repeat(np.arange(0, 240, 10, dtype=np.uint8), 16 * 16 * 3).reshape(24, 16, 16, 3)
    (tmp_path / "ramp.mp4").write_bytes(encode_mp4(frames, fps=8, crf=0))
    clip = StepClip("line 2", tmp_path / "ramp.mp4", "ramp", start=1.0, end=2.0)
    found = clip_frames(clip, size=16, fps=4)
    assert found.shape == (4, 16, 16, 3)
    assert np.abs(found[:, 8, 8, 0].astype(int) - [80, 100, 120, 140]).max() <= 6
    with pytest.raises(ValueError, match="`start`: expected less than 3 seconds, got 5"):
        clip_frames(StepClip("line 2", tmp_path / "ramp.mp4", "ramp", start=5.0), size=16, fps=4)


def test_all_faults_of_a_table_are_listed(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("clip,step,start,end\nnone.mp4,go,,\n,go,,\nclips.csv,,3,1\n")
    with pytest.raises(SourceError) as raised:
        read_step_clips(tmp_path / "clips.csv")
    assert [error.split(":")[0] for error in raised.value.errors] == ["line 2", "line 3", "line 4", "line 4"]


def test_the_command_prints_the_leaks_and_refuses_too_high_levels(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="expected 1 to 8 with 8 different steps, got 9"):
        main(["compose", str(table), str(tmp_path / "out"), "--levels", "9", "--size", "32"])
    with pytest.raises(SystemExit, match="expected a clip for the split 'd', got none"):
        main(["compose", str(table), str(tmp_path / "out"), "--splits", "a", "b", "c", "d"])
    options = ["--levels", "2", "--sets", "1", "--size", "32", "--kinds", "permutation"]
    main(["compose", str(table), str(tmp_path / "out"), *options])
    printed = capsys.readouterr().out
    assert "test: 1 problem sets" in printed
    assert "solvable by: first, last, first_and_last" in printed
    with pytest.raises(SystemExit, match="expected no problem sets yet"):
        main(["compose", str(table), str(tmp_path / "out"), *options])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--candidates", "1", "`candidates`: expected at least 2, got 1."),
        ("--size", "-3", "`size`: expected at least 2, got -3."),
        ("--splits", "../x", "`splits`: expected letters, .*, got '../x'. Rename it."),
        ("--environment", "a/b", "`environment`: expected letters, .*, got 'a/b'. Rename it."),
    ],
)
def test_options_of_composing_are_named_as_they_were_given(
    option: str, value: str, message: str, table: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["compose", str(table), str(tmp_path / "out"), option, value])


@pytest.mark.parametrize("text", ["8-2", "two", "0", "1-"])
def test_levels_are_numbers_and_ranges(text: str) -> None:
    assert parse_levels("1,2-4") == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="`levels`: expected numbers and ranges"):
        parse_levels(text)

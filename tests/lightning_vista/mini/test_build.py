import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_vista.mini import build
from lightning_vista.mini.build import build_mini
from lightning_vista.mini.slots import SPLITS, WORLDS, sample_draft, slots
from lightning_vista.video.decoding import check_video
from lightning_vista.video.encoding import encode_mp4
from lightning_vista.vista.layout import read_problem_sets

SMALL: dict[str, Any] = {"scale": 0.01, "splits": ["val"]}


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mini") / "new"
    build_mini(root, num_workers=1, **SMALL)
    return root


def test_the_official_layout_is_written(mini: Path) -> None:
    problem_sets = read_problem_sets(mini / "val" / "tasks")
    assert not problem_sets.skipped
    assert {problem_set.environment for problem_set in problem_sets} == {"home", "craft"}
    assert {problem_set.level for problem_set in problem_sets} == set(range(1, 9))
    assert "craft/foundation/val_00" in {problem_set.id for problem_set in problem_sets}
    for problem_set in problem_sets:
        assert problem_set.hint
        assert problem_set.example
        assert problem_set.extra["metadata"]["held_out"] is False
        for video in problem_set.videos:
            check_video((mini / "val" / "videos" / problem_set.video_key(video)).read_bytes())
    with (mini / "val" / "metadata.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    written = {path.relative_to(mini / "val" / "videos").as_posix() for path in mini.rglob("*.mp4")}
    assert {row["video"] for row in rows} == written
    state = json.loads((mini / "mini.json").read_text())["totals"]["val"]
    assert state["problem_sets"] == len(problem_sets) == len(slots(["val"], 0.01))
    assert state["videos"] == len(written)
    assert state["bytes"] == sum((mini / "val" / "videos" / name).stat().st_size for name in written)


def test_any_number_of_workers_gives_the_same_bytes(mini: Path, tmp_path: Path) -> None:
    build_mini(tmp_path, num_workers=3, **SMALL)
    assert files(tmp_path) == files(mini)


def test_a_killed_build_started_again_gives_the_same_bytes(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def encode_and_die(frames: NDArray[np.uint8], **options: Any) -> bytes:  # passed on
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return encode_mp4(frames, **options)

    monkeypatch.setattr(build, "encode_mp4", encode_and_die)
    with pytest.raises(KeyboardInterrupt):
        build_mini(tmp_path, num_workers=1, **SMALL)
    half = next(tmp_path.rglob("*.mp4"))
    half.write_bytes(half.read_bytes()[:100])
    build_mini(tmp_path, num_workers=1, **SMALL)
    assert files(tmp_path) == files(mini)


def test_a_complete_build_is_left_as_it_is(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_write", lambda *_: pytest.fail("built again"))
    assert build_mini(mini, **SMALL)["val"].problem_sets == len(slots(["val"], 0.01))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1}, "`scale`: expected a number above 0, got -1"),
        ({"scale": float("nan")}, "`scale`: expected a number above 0"),
        ({"seed": -1}, "`seed`: expected 0 or more"),
        ({"splits": ["dev"]}, "expected some of train, val, test, each once, got dev"),
        ({"splits": ["val", "val"]}, "each once"),
        ({"splits": []}, "got none"),
        ({"num_workers": 0}, "`num_workers`: expected 1 or more"),
    ],
)
def test_bad_arguments_are_named_and_write_nothing(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_mini(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_else_is_refused(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with the settings"):
        build_mini(mini, seed=1, **SMALL)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        build_mini(tmp_path, **SMALL)
    with pytest.raises(ValueError, match="got a file"):
        build_mini(tmp_path / "thesis.txt", **SMALL)


def test_splits_share_no_problem_set_and_scale_only_adds() -> None:
    assert len(slots(["test"])) == 199
    assert set(slots(["test"], 0.5)) < set(slots(["test"])) < set(slots(["test"], 2))
    ids = [slot.id for slot in slots(SPLITS)]
    assert len(set(ids)) == len(ids)
    drafts = [sample_draft(slot) for slot in slots(SPLITS, 0.01) if slot.type == "remix" and slot.level == 3]
    assert len({str(draft.episodes) for draft in drafts}) == len(drafts) == len(SPLITS) * len(WORLDS)


def test_held_out_sets_are_in_the_test_split_only() -> None:
    assert not any(slot.held_out for slot in slots(["train", "val"], 3))
    test = slots(["test"])
    assert {slot.type for slot in test if slot.held_out} == {slot.type for slot in test}
    assert 0.2 < sum(slot.held_out for slot in test) / len(test) < 0.4

import json
import math
from pathlib import Path

import pytest

from lightning_vista.evaluation import PairScores, RunFolder, RunFolderError
from lightning_vista.files.own_files import line_checksum

pytestmark = pytest.mark.portable

SET = "toy/level_2/permutation/order"


def pair(video: str, *scores: float, reason: str | None = None) -> PairScores:
    return PairScores(SET, video, ("ab", "ba"), scores, (True, False), reason)


def test_scores_survive_the_journal_to_the_last_bit(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "judge", "hash")
    run.append([pair("a.mp4", 0.1 + 0.2, -1e-300), pair("b.mp4", math.nan, math.nan, reason="no reply")], rank=0)
    again = RunFolder(tmp_path, "judge", "hash")
    assert again.scored["a.mp4"] == [pair("a.mp4", 0.1 + 0.2, -1e-300)]
    table = again.finish([])
    assert table.rows["score"].to_list() == [0.1 + 0.2, -1e-300, None, None]
    assert table.rows["reason"].to_list() == [None, None, "no reply", "no reply"]
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_the_journals_of_all_ranks_are_joined(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "judge", "hash")
    run.append([pair("b.mp4", 1, 0)], rank=1)
    run.append([pair("a.mp4", 0, 1)], rank=0)
    assert run.finish([]).rows["video"].unique().sort().to_list() == ["a.mp4", "b.mp4"]


def test_a_line_that_a_kill_cut_short_is_scored_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "judge", "hash")
    run.append([pair("a.mp4", 1, 0)], rank=0)
    run.append([pair("b.mp4", 1, 0)], rank=0)
    (journal,) = tmp_path.glob(".scores-*")
    journal.write_bytes(journal.read_bytes()[:-10])
    again = RunFolder(tmp_path, "judge", "hash")
    assert list(again.scored) == ["a.mp4"]
    again.append([pair("b.mp4", 0, 1)], rank=0)
    assert again.finish([]).rows["score"].to_list() == [1, 0, 0, 1]


def test_a_journal_cut_in_its_first_line_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".scores-0.jsonl").write_text('{"model": "jud')
    run = RunFolder(tmp_path, "judge", "hash")
    assert not run.scored
    run.append([pair("a.mp4", 1, 0)], rank=0)
    assert list(RunFolder(tmp_path, "judge", "hash").scored) == ["a.mp4"]


def test_a_finished_run_is_known_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "judge", "hash")
    run.append([pair("a.mp4", 1, 0), pair("b.mp4", math.nan, math.nan, reason="no reply")], rank=0)
    run.finish([])
    before = (tmp_path / "scores.parquet").read_bytes()
    again = RunFolder(tmp_path, "judge", "hash")
    assert again.scored["a.mp4"] == [pair("a.mp4", 1, 0)]
    again.append([pair("a.mp4", 1, 0)], rank=0)
    again.finish([])
    assert (tmp_path / "scores.parquet").read_bytes() == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(("model", "config_hash"), [("judge", "other"), ("other", "hash")])
def test_the_scores_of_another_configuration_are_not_mixed_in(
    tmp_path: Path, finished: bool, model: str, config_hash: str
) -> None:
    run = RunFolder(tmp_path, "judge", "hash")
    run.append([pair("a.mp4", 1, 0)], rank=0)
    if finished:
        run.finish([])
    with pytest.raises(RunFolderError, match="Give another `evaluation.run_dir`"):
        RunFolder(tmp_path, model, config_hash)
    assert list(RunFolder(tmp_path, "judge", "hash").scored) == ["a.mp4"]  # what was there is untouched


def test_damaged_lines_are_scored_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "judge", "hash")
    for name in "abc":
        run.append([pair(f"{name}.mp4", 0.25, 0)], rank=0)
    (journal,) = tmp_path.glob(".scores-*")
    journal.write_text(journal.read_text().replace("0.25", "0.75", 2).replace("0.75", "0.25", 1))
    with pytest.warns(UserWarning, match=r"scores-0\.jsonl: 1 of 3 lines are damaged\. Their videos are scored again"):
        assert list(RunFolder(tmp_path, "judge", "hash").scored) == ["a.mp4", "c.mp4"]


def test_a_damaged_first_line_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path, "judge", "hash").append([pair("a.mp4", 1, 0)], rank=0)
    (journal,) = tmp_path.glob(".scores-*")
    journal.write_text(journal.read_text().replace("judge", "jugde"))
    with pytest.raises(RunFolderError, match=r"scores-0\.jsonl: expected the journal .* Remove the file"):
        RunFolder(tmp_path, "judge", "hash")


def test_a_journal_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    entry = pair("a.mp4", 1, 0).to_json()
    lines = [json.dumps({"model": "judge", "config_hash": "hash"}), json.dumps([entry])]
    (tmp_path / ".scores-0.jsonl").write_text("".join(f"{line}\n" for line in lines))
    run = RunFolder(tmp_path, "judge", "hash")
    assert run.scored == {"a.mp4": [pair("a.mp4", 1, 0)]}
    run.append([pair("b.mp4", 0, 1)], rank=0)
    assert list(RunFolder(tmp_path, "judge", "hash").scored) == ["a.mp4", "b.mp4"]


def test_a_line_that_is_nested_without_end_is_scored_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "judge", "hash")
    run.append([pair("a.mp4", 1, 0)], rank=0)
    (journal,) = tmp_path.glob(".scores-*")
    text = "[" * 100_000
    journal.write_text(f"{journal.read_text()}{line_checksum(text)} {text}\n")
    with pytest.warns(UserWarning, match="1 of 2 lines are damaged"):
        assert list(RunFolder(tmp_path, "judge", "hash").scored) == ["a.mp4"]


def test_a_score_wins_over_none_whichever_journal_is_read_first(tmp_path: Path) -> None:
    """After a run with other ranks, the later attempt may be in the journal that is read first."""
    nothing = pair("a.mp4", math.nan, math.nan, reason="endpoint_error")
    for first, second in ((0, 1), (1, 0)):
        folder = tmp_path / str(first)
        RunFolder(folder, "judge", "hash").append([nothing], rank=first)
        run = RunFolder(folder, "judge", "hash")
        assert run.unscored == {"a.mp4"}
        run.append([pair("a.mp4", 1, 0)], rank=second)
        again = RunFolder(folder, "judge", "hash")
        assert again.scored == {"a.mp4": [pair("a.mp4", 1, 0)]}
        assert not again.unscored


def test_a_second_attempt_keeps_the_scores_of_the_first(tmp_path: Path) -> None:
    """A video is scored again as a whole; pairs that had a score, of any order of the frames, keep it."""
    nothing = pair("a.mp4", math.nan, math.nan, reason="refusal")
    first = [pair("a.mp4", 1, 0), nothing._replace(order="reversed"), nothing._replace(order="static")]
    RunFolder(tmp_path, "judge", "hash").append(first, rank=0)
    run = RunFolder(tmp_path, "judge", "hash")
    assert run.unscored == {"a.mp4"}
    second = [nothing, pair("a.mp4", 0, 1)._replace(order="reversed"), nothing._replace(order="static", reason="late")]
    assert run.with_earlier([*second, pair("b.mp4", 0, 1)]) == [first[0], *second[1:], pair("b.mp4", 0, 1)]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("is_prediction", [True, False])
def test_predictions_and_scores_with_targets_are_not_mixed(tmp_path: Path, finished: bool, is_prediction: bool) -> None:
    run = RunFolder(tmp_path, "judge", "hash", is_prediction)
    run.append([pair("a.mp4", 1, 0)._replace(targets=None if is_prediction else (True, False))], rank=0)
    if finished:
        run.finish([])
    got, expected = ("predict", "test") if is_prediction else ("test", "predict")
    with pytest.raises(RunFolderError, match=f"holds scores of `{got}`, not of `{expected}`.* `evaluation.run_dir`"):
        RunFolder(tmp_path, "judge", "hash", not is_prediction)
    assert list(RunFolder(tmp_path, "judge", "hash", is_prediction).scored) == ["a.mp4"]

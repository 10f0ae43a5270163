"""Runs with controls of frame order, against videos that are decoded and re-ordered by hand."""

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import permutations
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from killing import evaluate_random_scorer, killed_after
from torch import Tensor

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation.run_folder import RunFolderError
from lightning_vista.reports.results import build_results
from lightning_vista.reports.run_results import read_run_results
from lightning_vista.scorers import EmbeddingScorer, RandomScorer, Scores, VLMScorer
from lightning_vista.scorers.frame_memo import FrameMemo
from lightning_vista.video import FrameSpec, decode_video
from lightning_vista.vista import samples, streams
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.frame_order import CONTROLS, Control
from lightning_vista.vista.tables import read_scores

SPEC = FrameSpec(num_frames=4, size=16)


class Clock(VLMScorer):
    """Weighs frames by when they are shown, so that every order gives another score."""

    frame_spec = SPEC

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.hparams.clear()  # a run that failed is resumed by one that does not
        self.fail_at = fail_at
        self.calls = 0
        self.transcript: str | None = None

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("power cut")
        return [
            [Scores(weighed(frames, len(candidates.labels)), transcript=self.transcript) for candidates in sets]
            for frames, sets in zip(batch.frames, batch.candidates, strict=True)
        ]


def weighed(frames: Tensor, labels: int) -> Tensor:
    """Score label k by the sum of the frames' mean brightness, frame i weighing (i + 1) ** (k + 1)."""
    means = frames.double().mean(dim=(1, 2, 3))
    return torch.stack([(means * torch.arange(1, len(frames) + 1) ** (label + 1)).sum() for label in range(labels)])


def run(
    scorer: VLMScorer,
    shards: Path,
    run_dir: Path,
    controls: Sequence[Control] = CONTROLS,
    predict: bool = False,
    **settings: Any,
) -> Any:
    datamodule = ViSTaDataModule(str(shards), scorer.frame_spec, **({"batch_size": 4, "num_workers": 0} | settings))
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluation(str(run_dir), controls=controls)],
    )
    if predict:
        return trainer.predict(scorer, datamodule)
    return trainer.test(scorer, datamodule, verbose=False)


BY_HAND: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "reversed": lambda frames: [frames.flip(0)],
    "shuffled": lambda frames: [frames[list(order)] for order in permutations(range(4))],
    "static": lambda frames: [frames[[1, 1, 1, 1]]],
    "first_last": lambda frames: [frames[[0, 0, 3, 3]]],
}


@pytest.mark.parametrize("predict", [False, True])
def test_scores_are_those_of_frames_that_are_ordered_by_hand(
    predict: bool, dataset: Path, shards: Path, tmp_path: Path
) -> None:
    returned = run(Clock(), shards, tmp_path / "run", predict=predict)
    run(Clock(), shards, tmp_path / "plain", controls=(), predict=predict)
    table, plain = read_scores(tmp_path / "run"), read_scores(tmp_path / "plain")
    assert table.rows.equals(plain.rows)
    assert plain.controls == {}
    assert tuple(table.controls) == CONTROLS
    assert table.rows["target"].null_count() == (40 if predict else 0)
    if predict:  # Lightning returns what it always did
        assert {pair.order for batch in returned for pair in batch} == {"forward"}
    shuffles = set[tuple[int, ...]]()
    for control, rows in table.controls.items():
        assert rows.drop("score").equals(table.rows.drop("score"))
        for (video, _), own in rows.group_by("video", "problem_set", maintain_order=True):
            frames = decode_video((dataset / "videos" / str(video)).read_bytes(), SPEC).frames
            expected = [weighed(shown, own.height).tolist() for shown in BY_HAND[control](frames)]
            found = [place for place, scores in enumerate(expected) if scores == pytest.approx(own["score"].to_list())]
            assert found
            if control == "shuffled":
                shuffles.add(tuple(found))
    assert len(shuffles) > 5  # of 13 videos


def test_each_video_is_decoded_once(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Counter[str] = Counter()
    decode = samples.decode_members

    def spy(sample: Any, *args: Any) -> Any:
        decoded[sample.video] += 1
        return decode(sample, *args)

    monkeypatch.setattr(streams, "decode_members", spy)
    scorer = Clock()
    run(scorer, shards, tmp_path)
    assert (len(decoded), set(decoded.values())) == (13, {1})
    assert scorer.calls == 4 * (1 + len(CONTROLS))  # 4 batches


def test_logged_figures_are_those_of_the_intact_videos(shards: Path, tmp_path: Path) -> None:
    assert run(Clock(), shards, tmp_path / "a") == run(Clock(), shards, tmp_path / "b", controls=())
    assert run(Clock(), shards, tmp_path / "a") == run(Clock(), shards, tmp_path / "b", controls=())  # both finished


@pytest.mark.parametrize("fail_at", [1, 8, 11, 20])
def test_a_run_that_fails_amid_its_controls_is_resumed(
    fail_at: int, shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figures = run(Clock(), shards, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(Clock(fail_at), shards, tmp_path / "cut")
    done = (fail_at - 1) // 5  # batches that are journaled with all of their orders
    journals = [path.read_text().splitlines() for path in (tmp_path / "cut").glob(".scores-*")]
    journaled = [json.loads(line.partition(" ")[2]) for lines in journals for line in lines[1:]]  # behind checksums
    assert len(journaled) == 4 * done
    assert all({pair["order"] for pair in pairs} == {"forward", *CONTROLS} for pairs in journaled)
    scorer = Clock()
    # Other words for the same run: the order of the controls does not matter.
    assert run(scorer, shards, tmp_path / "cut", controls=CONTROLS[::-1]) == figures
    assert scorer.calls == 5 * (4 - done)
    assert (tmp_path / "cut/scores.parquet").read_bytes() == (tmp_path / "whole/scores.parquet").read_bytes()
    finished = Clock()
    caplog.clear()
    with caplog.at_level("INFO"):
        assert run(finished, shards, tmp_path / "cut") == figures
    assert finished.calls == 0
    assert "cut holds the scores of 13 of 13 videos, which are not scored again. If the scorer's code" in caplog.text


@pytest.mark.slow
def test_runs_with_controls_that_are_killed_at_any_moment_end_with_the_same_table(shards: Path, tmp_path: Path) -> None:
    evaluate_random_scorer(str(shards), str(tmp_path / "undisturbed"), CONTROLS)
    rng, kills, longest = random.Random(0), 0, 0.3
    while kills < 8:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            while killed_after(rng.uniform(0, longest), evaluate_random_scorer, str(shards), folder, CONTROLS):
                kills += 1
                longest *= 1.1  # until it is enough for a run, on any machine
            expected = (tmp_path / "undisturbed/scores.parquet").read_bytes()
            assert (Path(folder) / "scores.parquet").read_bytes() == expected


def test_runs_with_other_controls_are_not_mixed(shards: Path, tmp_path: Path) -> None:
    run(Clock(), shards, tmp_path, controls=["reversed"])
    for other in ((), ("static",), ("reversed", "static")):
        with pytest.raises(RunFolderError, match="Give another `evaluation.run_dir`"):
            run(Clock(), shards, tmp_path, controls=other)


def test_a_damaged_video_is_unscored_in_every_order(shards: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(shards, tmp_path / "shards")
    datamodule = ViSTaDataModule(str(shards))
    datamodule.setup("test")
    sample = datamodule.index().samples[0]
    with (tmp_path / "shards" / sample.shard).open("r+b") as file:
        file.seek(sample.offset + 1500)
        file.write(b"\xff" * 64)
    run(Clock(), tmp_path / "shards", tmp_path / "run", on_error="unscored", batch_size=1)
    table = read_scores(tmp_path / "run")
    for rows in (table.rows, *table.controls.values()):
        unscored = rows.filter(rows["score"].is_null())
        assert set(unscored["video"]) == {sample.video}
        assert unscored.height == rows.filter(rows["video"] == sample.video).height


def test_transcripts_name_the_order(shards: Path, tmp_path: Path) -> None:
    scorer = Clock()
    scorer.transcript = "We see a square."
    run(scorer, shards, tmp_path, controls=["static"])
    texts = [path.read_text() for path in (tmp_path / "transcripts").iterdir()]
    assert len(texts) == 13
    (shared,) = [text for text in texts if "shared" in text]
    heads = [line for line in shared.splitlines() if line.startswith("===")]
    sets = ("toy/foundation/objects/shapes", "toy/level_2/permutation/order")
    assert heads == [f"=== {id}{shown} (scored)" for shown in ("", ", frames static") for id in sets]


def test_loggers_get_a_table_of_controls(shards: Path, tmp_path: Path) -> None:
    run(Clock(), shards, tmp_path / "run", controls=["static"])
    tables = read_run_results(tmp_path / "run").tables
    assert list(tables) == ["problem_sets", "aggregates", "videos", "controls", "order_verdicts"]
    found = [dict(zip(tables["controls"].columns, row, strict=True)) for row in tables["controls"].rows]
    assert {row["control"] for row in found} == {"static"}
    expected = build_results([read_scores(tmp_path / "run")])["Clock"]["controls"]["rows"]
    assert found == expected
    assert len(found[0]) == len(expected[0])
    run(Clock(), shards, tmp_path / "plain", controls=())
    assert "controls" not in read_run_results(tmp_path / "plain").tables


def test_wrong_controls_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`controls`: expected one of 'reversed'"):
        Evaluation(controls=["backwards"])  # type: ignore[list-item] # on purpose
    with pytest.raises(ValueError, match="`controls`: expected each control once"):
        Evaluation(controls=["static", "static"])
    scorer = Clock()
    scorer.frame_spec = FrameSpec(num_frames=1, size=16)
    with pytest.raises(ValueError, match="`controls`: expected a scorer that sees at least 2 frames"):
        run(scorer, shards, tmp_path)


def test_a_dry_run_says_what_is_scored_again(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scorer = RandomScorer()
    evaluation = Evaluation(str(tmp_path), controls=["static", "reversed"], dry_run=True)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[evaluation])
    trainer.test(scorer, ViSTaDataModule(str(shards), scorer.frame_spec, num_workers=0), verbose=False)
    printed = capsys.readouterr().out
    assert "would score 3 problem sets, 13 videos" in printed
    assert " in 3 orders of frames (forward, static, reversed)." in printed


class Separate(EmbeddingScorer):
    """Encodes frames separately, and counts them; then weighs them by their places."""

    frame_spec = SPEC

    def __init__(self, cache_dir: str | None = None) -> None:
        super().__init__(cache_dir=cache_dir)
        self.encoded = 0

    def embed_videos(self, frames: Tensor) -> Tensor:
        features = self.encode_frames(frames.flatten(0, 1), self._encode).reshape(*frames.shape[:2], 3)
        return (features * torch.arange(1, 5)[:, None]).mean(dim=1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(len(text)), 1.0, 0.0] for text in texts])

    def _encode(self, frames: Tensor) -> Tensor:
        self.encoded += len(frames)
        return frames.float().mean(dim=(2, 3)) / 255


def test_frames_just_seen_are_not_encoded_again(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, cached, forgetful = Separate(), Separate(str(tmp_path / "embeddings")), Separate()
    run(scorer, shards, tmp_path / "known")
    run(cached, shards, tmp_path / "cached")
    assert scorer.encoded == cached.encoded == 13 * 4
    again = Separate(str(tmp_path / "embeddings"))
    run(again, shards, tmp_path / "again")
    assert again.encoded == 0
    monkeypatch.setattr(FrameMemo, "using", lambda self: nullcontext())
    run(forgetful, shards, tmp_path / "forgotten")
    assert forgetful.encoded == 13 * 4 * 5
    tables = [(tmp_path / name / "scores.parquet").read_bytes() for name in ("known", "forgotten")]
    assert tables[0] == tables[1]
    cached_tables = [read_scores(tmp_path / name) for name in ("cached", "again")]
    assert cached_tables[0].controls["reversed"].equals(cached_tables[1].controls["reversed"])
    known = read_scores(tmp_path / "known")
    assert known.controls["reversed"]["score"].to_list() != known.rows["score"].to_list()

import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from killing import evaluate_random_scorer, killed_after
from torch import Tensor

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation.run_folder import RunFolderError
from lightning_vista.scorers import EmbeddingScorer, RandomScorer, Scores, VLMScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.tables import read_scores


class Oracle(VLMScorer):
    """Knows the answers, which no real scorer can: `answers` is filled by the test."""

    frame_spec = FrameSpec(num_frames=2, size=16)
    answers: dict[str, dict[str, tuple[bool, ...]]]

    def __init__(self, wrong: Sequence[str] = ()) -> None:
        super().__init__()
        self.wrong = tuple(wrong)
        self.fail_at: int | None = None
        self.asked: list[str] = []

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        if self.fail_at is not None and len(self.asked) >= self.fail_at:
            raise RuntimeError("power cut")
        self.asked += batch.videos
        return [
            [
                Scores(
                    torch.tensor([float(x) for x in ANSWERS[q.video][c.problem_set]])
                    * (-1 if q.video in self.wrong else 1)
                )
                for c in q.candidates
            ]
            for q in batch.questions
        ]


ANSWERS: dict[str, dict[str, tuple[bool, ...]]] = {}


@pytest.fixture(autouse=True)
def _answers(shards: Path) -> None:
    datamodule = ViSTaDataModule(str(shards))
    datamodule.setup("test")
    labels = {p.id: p.labels for p in datamodule.index().problem_sets}
    for sample in datamodule.index().samples:
        ANSWERS[sample.video] = {
            m.problem_set: tuple(label in m.labels for label in labels[m.problem_set]) for m in sample.memberships
        }


def evaluating(run_dir: Path, **options: Any) -> L.Trainer:
    settings: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False} | options
    return L.Trainer(accelerator="cpu", enable_checkpointing=False, callbacks=[Evaluation(str(run_dir))], **settings)


def evaluate(scorer: VLMScorer, shards: Path, run_dir: Path, **settings: object) -> dict[str, float]:
    chosen: dict[str, Any] = {"batch_size": 4, "num_workers": 0} | settings
    datamodule = ViSTaDataModule(str(shards), scorer.frame_spec, **chosen)
    (figures,) = evaluating(run_dir).test(scorer, datamodule, verbose=False)
    return dict(figures)


def test_a_scorer_that_is_always_right_has_macro_f1_of_one(shards: Path, tmp_path: Path) -> None:
    figures = evaluate(Oracle(), shards, tmp_path)
    assert figures["test/macro_f1"] == 1
    assert figures["test/accuracy"] == 1
    assert figures["test/macro_f1/toy/level_1/objects"] == 1
    assert (figures["test/unscored"], figures["test/ties"]) == (0, 0)
    table = read_scores(tmp_path)
    assert table.model == "Oracle"
    assert table.rows.height == 9 * 3 + 2 * 2 + 3 * 3
    assert table.rows.filter(table.rows["target"])["score"].to_list() == [1.0] * 16


def test_every_video_is_asked_once(shards: Path, tmp_path: Path) -> None:
    scorer = Oracle()
    evaluate(scorer, shards, tmp_path)
    assert sorted(scorer.asked) == sorted(ANSWERS)


def test_an_interrupted_run_scores_only_what_is_missing(shards: Path, tmp_path: Path) -> None:
    undisturbed = evaluate(Oracle(), shards, tmp_path / "whole")
    cut = Oracle()
    cut.fail_at = 8
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate(cut, shards, tmp_path / "cut")
    scorer = Oracle()
    assert evaluate(scorer, shards, tmp_path / "cut") == undisturbed
    assert len(scorer.asked) == 13 - 8
    for name in ("scores.parquet", "examples/examples.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_runs_killed_at_any_moment_end_with_the_same_table(shards: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    evaluate_random_scorer(str(shards), str(undisturbed))
    rng, kills, longest = random.Random(0), 0, 0.3
    while kills < 25:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            while killed_after(rng.uniform(0, longest), evaluate_random_scorer, str(shards), folder):
                kills += 1
                longest *= 1.1  # until it is enough for a run, on any machine
            for name in ("scores.parquet", "examples/examples.json"):
                assert (Path(folder) / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_finished_run_is_not_scored_again(shards: Path, tmp_path: Path) -> None:
    figures = evaluate(Oracle(), shards, tmp_path)
    before = (tmp_path / "scores.parquet").read_bytes()
    scorer = Oracle()
    assert evaluate(scorer, shards, tmp_path) == figures
    assert scorer.asked == []
    assert (tmp_path / "scores.parquet").read_bytes() == before


def test_a_run_folder_of_other_settings_is_refused(shards: Path, tmp_path: Path) -> None:
    evaluate(RandomScorer(seed=0), shards, tmp_path)
    with pytest.raises(RunFolderError, match="Give another `evaluation.run_dir`"):
        evaluate(RandomScorer(seed=1), shards, tmp_path)
    with pytest.raises(RunFolderError, match="Give another `evaluation.run_dir`"):
        evaluate(RandomScorer(seed=0), shards, tmp_path, levels=[1])


def test_the_run_folder_tells_how_it_was_made(shards: Path, tmp_path: Path) -> None:
    evaluate(RandomScorer(seed=7), shards, tmp_path)
    model = yaml.safe_load((tmp_path / "config.yaml").read_text())["model"]
    assert model["class_path"] == "lightning_vista.scorers.random.RandomScorer"
    assert model["init_args"]["seed"] == 7


def test_random_scores_do_not_depend_on_batches_or_workers(shards: Path, tmp_path: Path) -> None:
    for name, workers, batch_size in (("a", 0, 4), ("b", 2, 3)):
        evaluate(RandomScorer(), shards, tmp_path / name, batch_size=batch_size, num_workers=workers)
    assert (tmp_path / "a/scores.parquet").read_bytes() == (tmp_path / "b/scores.parquet").read_bytes()


def test_a_scorer_never_sees_the_targets(shards: Path, tmp_path: Path) -> None:
    class Curious(Oracle):
        def score(self, batch: VideoBatch) -> list[list[Scores]]:
            assert all(question.targets is None for question in batch.questions)
            return super().score(batch)

    evaluate(Curious(), shards, tmp_path)


class Nothing(VLMScorer):
    """Returns what the test wants it to."""

    def __init__(self, scores: list[list[Scores]]) -> None:
        super().__init__()
        self.scores = scores

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        return self.scores


def wrong_scores(*values: Any, **texts: Any) -> Scores:
    """Scores of the wrong types."""
    return Scores(*values, **texts)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], r"expected lengths \[1, 1, 1, 1\], got \[\]"),
        ([[Scores(torch.zeros(3))] * 2] * 4, r"expected lengths \[1, 1, 1, 1\], got \[2, 2, 2, 2\]"),
        ([[Scores(torch.zeros(2))]] * 4, r"expected 3 finite scores \(NaN = unscored\), got \[0.0, 0.0\]"),
        (None, "with one Scores for each of its problem sets: got NoneType with NoneType"),
        ([[[0.0, 0.0, 0.0]]] * 4, "got list with list"),
        ([Scores(torch.zeros(3))] * 4, "got list with NoneType"),
        (torch.zeros(4, 1, 3), "got Tensor with NoneType"),
        ([[wrong_scores([0.0, 0.0, 0.0])]] * 4, "expected a tensor of real numbers as `values` of Scores, got list"),
        ([[Scores(torch.zeros(3, dtype=torch.complex64))]] * 4, "tensor of real numbers .*, got torch.complex64"),
        ([[wrong_scores(torch.zeros(3), reason=5)]] * 4, "expected text or None as `reason` of Scores, got 5"),
        ([[Scores(torch.zeros(3), transcript="a\ud800")]] * 4, "expected text or None as `transcript` of Scores"),
        ([[Scores(torch.tensor([0, math.inf, 0]))]] * 4, r"video other/x/0.mp4.*expected 3 finite scores"),
    ],
)
def test_scores_of_the_wrong_shape_are_an_error(shards: Path, tmp_path: Path, scores: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(Nothing(scores), shards, tmp_path)


@pytest.mark.parametrize("name", ["..", ".", "../other", "/runs/other", "a\nb", "a\0b", 5])
def test_the_name_of_a_scorer_stays_in_the_folder_of_runs(name: Any) -> None:
    with pytest.raises(ValueError, match="`name`: expected printable characters, and no path that leaves"):
        RandomScorer(name=name)


@pytest.mark.parametrize(
    ("videos", "texts", "message"),
    [
        (torch.zeros(4, 8, 4), torch.zeros(3, 4), r"expected embeddings of one size, got \(8, 4\) for each video"),
        (torch.zeros(4, 5), torch.zeros(3, 4), r"expected embeddings of one size, got \(5,\) for each video"),
        (torch.zeros(4), torch.zeros(3, 4), r"\.embed_videos: expected a tensor \(4, dim\), got \(4,\)"),
        (torch.zeros(5, 4), torch.zeros(3, 4), r"\.embed_videos: expected a tensor \(4, dim\), got \(5, 4\)"),
        (None, torch.zeros(3, 4), r"\.embed_videos: expected a tensor \(4, dim\), got NoneType"),
        (torch.zeros(4, 4), [[0.0]] * 3, r"\.embed_texts: expected a tensor \(3, dim\), got list"),
        (torch.zeros(4, 4), torch.zeros(2, 4), r"\.embed_texts: expected a tensor \(3, dim\), got \(2, 4\)"),
    ],
)
def test_embeddings_of_the_wrong_shape_are_an_error(videos: Any, texts: Any, message: str) -> None:
    class Fixed(EmbeddingScorer):
        def embed_videos(self, frames: Tensor) -> Any:
            return videos

        def embed_texts(self, given: Sequence[str]) -> Any:
            return texts

    with pytest.raises(ValueError, match=message):
        Fixed().score_clips(torch.zeros(4, 8, 3, 224, 224, dtype=torch.uint8), ["a", "b", "c"])


def test_unscored_videos_are_counted_with_their_reason(shards: Path, tmp_path: Path) -> None:
    class Shy(Oracle):
        def score(self, batch: VideoBatch) -> list[list[Scores]]:
            scores = super().score(batch)
            for question, sets in zip(batch.questions, scores, strict=True):
                if question.video == "toy/clips/9.mp4":
                    sets[0] = Scores(torch.full((2,), math.nan), "unparsable reply")
            return scores

    figures = evaluate(Shy(), shards, tmp_path)
    assert figures["test/unscored"] == 1
    assert figures["test/macro_f1/toy/level_2/permutation"] == pytest.approx(0.5)  # one of two right, one missed
    rows = read_scores(tmp_path).rows
    assert rows.filter(rows["reason"].is_not_null())["reason"].unique().to_list() == ["unparsable reply"]


class Moody(Oracle):
    """Gives no score for the first problem set of two videos while it is down; one of these is in several sets."""

    moody = ("toy/clips/9.mp4", "toy/clips/shared v1.0.mp4")

    def __init__(self, down: bool) -> None:
        super().__init__()
        self.hparams.clear()  # the same run, down or up
        self.down = down

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        scores = super().score(batch)
        for question, sets in zip(batch.questions, scores, strict=True):
            if self.down and question.video in self.moody:
                sets[0] = Scores(torch.full_like(sets[0].values, math.nan), "endpoint_error")
        return scores


def test_videos_with_unscored_pairs_are_scored_again(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed run used to keep what was unscored, whatever the reason."""
    undisturbed = evaluate(Moody(down=False), shards, tmp_path / "whole")
    run = tmp_path / "run"
    assert evaluate(Moody(down=True), shards, run)["test/unscored"] == 2
    up = Moody(down=False)
    with caplog.at_level("INFO"):
        assert evaluate(up, shards, run) == undisturbed
    assert set(up.asked) == set(Moody.moody)
    assert "scores of 11 of 13 videos, which are not scored again. " in caplog.text
    assert "unscored pairs of 2 of 13 videos, which are scored again" in caplog.text
    assert (run / "scores.parquet").read_bytes() == (tmp_path / "whole/scores.parquet").read_bytes()
    finished = Moody(down=False)
    evaluate(finished, shards, run)
    assert not finished.asked


def test_what_stays_unscored_ends_with_the_same_table(shards: Path, tmp_path: Path) -> None:
    figures = evaluate(Moody(down=True), shards, tmp_path)
    before = (tmp_path / "scores.parquet").read_bytes()
    for _ in range(2):
        again = Moody(down=True)
        assert evaluate(again, shards, tmp_path) == figures
        assert set(again.asked) == set(Moody.moody)
        assert (tmp_path / "scores.parquet").read_bytes() == before


def test_a_second_attempt_that_is_cut_short_loses_nothing(shards: Path, tmp_path: Path) -> None:
    undisturbed = evaluate(Moody(down=False), shards, tmp_path / "whole")
    run = tmp_path / "run"
    evaluate(Moody(down=True), shards, run, batch_size=1)
    cut = Moody(down=False)
    cut.fail_at = 1
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate(cut, shards, run, batch_size=1)
    up = Moody(down=False)
    assert evaluate(up, shards, run, batch_size=1) == undisturbed
    assert len(up.asked) == 1
    assert (run / "scores.parquet").read_bytes() == (tmp_path / "whole/scores.parquet").read_bytes()


def test_a_limit_of_batches_is_spent_on_new_videos(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figures = evaluate(Moody(down=True), shards, tmp_path)
    scorer = Moody(down=False)
    trainer = evaluating(tmp_path, limit_test_batches=1)
    data = ViSTaDataModule(str(shards), scorer.frame_spec, batch_size=1, num_workers=0)
    with caplog.at_level("INFO"):
        assert trainer.test(scorer, data, verbose=False) == [figures]
    assert not scorer.asked
    assert "2 of these have unscored pairs; a run without a limit of batches scores them" in caplog.text


def test_predict_and_test_do_not_share_a_run_folder(shards: Path, tmp_path: Path) -> None:
    """The second of them used to fail at its start or, after all videos were scored, at its end."""
    data = ViSTaDataModule(str(shards), Oracle.frame_spec, batch_size=1, num_workers=0)

    def do(stage: str, run: str) -> Oracle:
        scorer = Oracle()
        trainer = evaluating(tmp_path / run)
        if stage == "test":
            trainer.test(scorer, data, verbose=False)
        else:
            trainer.predict(scorer, data, return_predictions=False)
        return scorer

    for first, second in (("predict", "test"), ("test", "predict")):
        do(first, first)
        before = (tmp_path / first / "scores.parquet").read_bytes()
        with pytest.raises(RunFolderError, match=f"of `{first}`, not of `{second}`.* another `evaluation.run_dir`"):
            do(second, first)
        assert (tmp_path / first / "scores.parquet").read_bytes() == before
        assert not do(first, first).asked


def test_another_datamodule_or_frame_spec_is_an_error(shards: Path, tmp_path: Path) -> None:
    scorer = Oracle()
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    with pytest.raises(ValueError, match="is evaluated on a ViSTaDataModule"):
        trainer.test(scorer, torch.utils.data.DataLoader([0]))  # type: ignore[arg-type] # on purpose
    with pytest.raises(ValueError, match="frame_spec=scorer.frame_spec"):
        trainer.test(scorer, ViSTaDataModule(str(shards), FrameSpec(num_frames=9)))


def test_predictions_are_a_table_without_targets(shards: Path, tmp_path: Path) -> None:
    scorer = RandomScorer()
    datamodule = ViSTaDataModule(str(shards), scorer.frame_spec, num_workers=0)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    batches = trainer.predict(scorer, datamodule)
    assert batches is not None
    assert {pair.targets for batch in batches for pair in batch} == {None}
    rows = read_scores(tmp_path / "runs" / "random-scorer-predictions").rows
    assert rows.height == rows["target"].null_count() == 40


def test_a_clip_is_scored_without_trainer_and_shards(dataset: Path) -> None:
    video = next((dataset / "videos").rglob("*.mp4"))
    texts = ["We see a ball", "We see a much longer text"]
    scores = Colours().score_video(video, texts)
    assert list(scores) == texts
    assert scores == Colours().score_video(video.read_bytes(), texts)
    assert scores[texts[1]] > scores[texts[0]]
    with pytest.raises(ValueError, match="`descriptions`: expected a list of different descriptions"):
        Colours().score_video(video, [texts[0], texts[0]])


def test_weights_that_change_change_the_embeddings_of_texts(dataset: Path) -> None:
    class Weighted(Colours):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def embed_texts(self, texts: Sequence[str]) -> Tensor:
            return self.gain * super().embed_texts(texts)

    video, scorer = next((dataset / "videos").rglob("*.mp4")), Weighted()
    (before,) = scorer.score_video(video, ["We see a ball"]).values()
    scorer.load_state_dict({"gain": torch.tensor(2.0)})
    assert scorer.score_video(video, ["We see a ball"])["We see a ball"] == pytest.approx(2 * before)


class Colours(EmbeddingScorer):
    frame_spec = FrameSpec(num_frames=2, size=16)

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def embed_videos(self, frames: Tensor) -> Tensor:
        return frames.float().mean(dim=(1, 3, 4)) / 255

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        self.texts += texts
        return torch.tensor([[float(len(text)), 1.0, 0.0] for text in texts])


class Trainable(Colours):
    """Half of it is frozen and in evaluation mode, as in training with a pretrained encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))
        self.head, self.frozen = torch.nn.Dropout(), torch.nn.Sequential(torch.nn.Dropout()).eval()
        self.modes: list[list[bool]] = []

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        self.modes.append(modes_of(self))
        return self.gain * super().embed_texts(texts)


def modes_of(scorer: VLMScorer) -> list[bool]:
    return [module.training for module in scorer.modules()]


@pytest.mark.parametrize("fails", [False, True])
def test_scoring_a_clip_leaves_every_module_in_its_mode(dataset: Path, fails: bool) -> None:
    video, scorer = next((dataset / "videos").rglob("*.mp4")), Trainable()
    before = modes_of(scorer)
    assert before == [True, True, False, False]
    if fails:
        with pytest.raises(ValueError, match="different descriptions"):
            scorer.score_video(video, ["We see a ball", "We see a ball"])
    else:
        scorer.score_video(video, ["We see a ball"])
        scorer.score_clips(torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8), ["We see a ball"])
        assert scorer.modes == [[False] * 4] * 2
    assert modes_of(scorer) == before
    scorer.eval().score_video(video, ["We see a ball"])
    assert modes_of(scorer) == [False] * 4


def test_a_step_between_two_clips_changes_the_embeddings_of_texts(dataset: Path) -> None:
    video, scorer = next((dataset / "videos").rglob("*.mp4")), Trainable()
    (before,) = scorer.score_video(video, ["We see a ball"]).values()
    with torch.no_grad():  # as an optimizer's step, before which nobody calls `train()` again
        scorer.gain.mul_(3)
    assert scorer.score_video(video, ["We see a ball"])["We see a ball"] == pytest.approx(3 * before)


def test_texts_of_frozen_scorers_are_embedded_once(dataset: Path) -> None:
    video, scorer = next((dataset / "videos").rglob("*.mp4")), Trainable()
    scorer.requires_grad_(False)
    for _ in range(3):
        scorer.score_video(video, ["We see a ball"])
    assert len(scorer.texts) == 1


def test_the_evaluation_of_the_user_wins_over_that_of_the_scorer(shards: Path, tmp_path: Path) -> None:
    scorer = RandomScorer()
    evaluate(scorer, shards, tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_embedding_scores_are_dot_products_and_texts_are_embedded_once(shards: Path, tmp_path: Path) -> None:
    scorer = Colours()
    evaluate(scorer, shards, tmp_path)
    assert len(scorer.texts) == len(set(scorer.texts)) == 8
    datamodule = ViSTaDataModule(str(shards), scorer.frame_spec, num_workers=0, batch_size=13)
    datamodule.setup("test")
    batch = next(iter(datamodule.test_dataloader()))
    rows = read_scores(tmp_path).rows
    for video, frames, sets in zip(batch.videos, batch.frames, batch.candidates, strict=True):
        red, green, _ = (frames.double().mean(dim=(0, 2, 3)) / 255).tolist()
        for candidates in sets:
            chosen = rows.filter((rows["video"] == video) & (rows["problem_set"] == candidates.problem_set))
            expected = [len(text) * red + green for text in candidates.descriptions]
            assert chosen["score"].to_list() == pytest.approx(expected, rel=1e-5)


def test_a_damaged_video_is_unscored_where_asked(shards: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "shards"
    shutil.copytree(shards, out)
    datamodule = ViSTaDataModule(str(out))
    datamodule.setup("test")
    sample = next(s for s in datamodule.index().samples if s.video.endswith("shared v1.0.mp4"))
    with (out / sample.shard).open("r+b") as file:
        file.seek(sample.offset + 1500)
        file.write(b"\xff" * 64)
    figures = evaluate(Oracle(), out, tmp_path / "run", on_error="unscored")
    assert figures["test/unscored"] == 2  # the video is in two sets
    rows = read_scores(tmp_path / "run").rows
    reasons = rows.filter(rows["score"].is_null())["reason"].unique().to_list()
    assert len(reasons) == 1
    assert sample.key in reasons[0]


def test_a_run_of_some_batches_says_that_it_is_partial_and_is_completed(shards: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    evaluate(RandomScorer(), shards, whole)
    scorer = RandomScorer()
    datamodule = ViSTaDataModule(str(shards), scorer.frame_spec, batch_size=4, num_workers=0)
    trainer = evaluating(part, limit_test_batches=2)
    with pytest.warns(UserWarning, match="8 of 13 videos are scored"):
        trainer.test(scorer, datamodule, verbose=False)
    table = read_scores(part)
    assert (table.is_partial, table.num_videos, table.planned) == (True, 8, 13)
    evaluate(RandomScorer(), shards, part)
    assert not read_scores(part).is_partial
    assert (part / "scores.parquet").read_bytes() == (whole / "scores.parquet").read_bytes()


def test_a_fast_dev_run_writes_nothing(shards: Path, tmp_path: Path) -> None:
    scorer = RandomScorer()
    datamodule = ViSTaDataModule(str(shards), scorer.frame_spec, batch_size=4, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu", fast_dev_run=True, logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    trainer.test(scorer, datamodule, verbose=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "frames",
    [
        torch.rand(1, 2, 3, 32, 32),
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 2, 32, 32, 3, dtype=torch.uint8),
    ],
)
def test_clips_of_another_shape_or_type_are_refused(frames: Tensor) -> None:
    with pytest.raises(ValueError, match=r"`frames`: expected \(batch, frames, 3, height, width\) of uint8"):
        RandomScorer().score_clips(frames, ["We see a", "We see b"])

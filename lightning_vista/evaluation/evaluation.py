"""The run of a scorer, as a Lightning callback."""

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_vista.evaluation.protocols import EvaluationData, Scorer, TestsItself
from lightning_vista.metrics import RESCALINGS, ProblemSetScores, Rescaling
from lightning_vista.options import check_word
from lightning_vista.vista.frame_order import FORWARD, Control, check_controls, reorder_frames

if TYPE_CHECKING:  # imported where a scorer is there: callbacks are imported by people who only train
    from lightning_vista.evaluation.pairs import PairScores
    from lightning_vista.evaluation.run_folder import RunFolder

_STAGES = ("test", "predict")


class Evaluation(L.Callback):
    """Runs the evaluation of a scorer: resumes it, journals its scores, logs its figures, writes its run folder.

    `test` writes the score table `scores.parquet`, `run.json` (the circumstances), `strips/` (a few frames of each
    problem set), `examples/`, `config.yaml` and, for scorers that talk, `transcripts/` into the run folder, and logs
    macro F1, accuracy, unscored videos and ties. `predict` does the same without targets and figures. A run that was
    interrupted is resumed by the same command: only what is missing is scored. Videos with unscored pairs are scored
    again, since the reason may have passed; under a limit of batches they are not. After a change to the scorer's code,
    give another run folder, or earlier scores stay. With `fast_dev_run` nothing is written.
    Modules that are not scorers are left alone.

    A scorer brings an `Evaluation` with these defaults where the trainer has none.

    Args:
        run_dir: The run folder; `runs/<name>` below the trainer's root folder by default, or `runs/<name>-predictions`
            for `predict`.
        rescaling: How the logged figures rescale scores: `none`, `video`, `label` or `both` (the paper's). The table
            holds raw scores, so `lightning-vista report` can choose again.
        strict: Whether the logged figures count an unscored video as wrong, or leave it out.
        controls: Orders of frames in which to score the same videos once more: `reversed`, `shuffled`, `static`,
            `first_last`, see `reorder_frames`. Each video is decoded once. The score table holds these scores too, and
            `lightning-vista report` says which scorers are blind to order; the logged figures do not include them.
        dry_run: Only print what the run would ask of the scorer.

    Attributes:
        run: The open run folder; None before `setup`, for modules that are not scorers, and where nothing is written.
        metric: The figures so far.

    Raises:
        ValueError: If `rescaling` is not one of these words, or a control is unknown or repeated; at setup, if the
            datamodule cannot be evaluated on or gives other frames than the scorer wants, or if controls are to be
            scored by a scorer that sees a single frame.
        RunFolderError: At setup, if the run folder holds scores of another scorer, configuration or dataset, or of
            `predict` instead of `test` or the reverse.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[Evaluation("runs/clip")])
    """

    def __init__(
        self,
        run_dir: str | None = None,
        rescaling: Rescaling = "both",
        strict: bool = True,
        controls: Sequence[Control] = (),
        dry_run: bool = False,
    ) -> None:
        check_word("rescaling", rescaling, RESCALINGS)
        check_controls(controls)
        self.run_dir = run_dir
        self.rescaling: Rescaling = rescaling
        self.strict = strict
        self.controls = tuple(controls)
        self.dry_run = dry_run
        self.run: RunFolder | None = None
        self.metric: ProblemSetScores | None = None
        self._skipped: set[str] = set()
        self._strips: set[str] = set()
        self._started = 0.0
        self._num_scored = 0

    def run_path(self, trainer: L.Trainer, scorer: Scorer) -> Path:
        """Return the run folder, which may not exist yet; a dry run leaves that of the real one alone."""
        name = f"{scorer.name}-predictions" if trainer.predicting else scorer.name
        path = Path(self.run_dir or Path(trainer.default_root_dir, "runs", name))
        return path.with_name(f"{path.name}-dry-run") if self.dry_run else path

    def run_files(self, trainer: L.Trainer) -> Path | None:
        """Return the run folder where a scorer is run, at any time of the run; see `files.run_files`."""
        module = trainer.lightning_module
        is_run = (trainer.testing or trainer.predicting) and not trainer.fast_dev_run  # type: ignore[attr-defined]
        return self.run_path(trainer, module) if is_run and isinstance(module, Scorer) else None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Open the run folder, and skip the videos that it holds."""
        self.run = self.metric = None
        if stage not in _STAGES or not isinstance(pl_module, Scorer):
            return
        if isinstance(pl_module, TestsItself) and pl_module.tests_itself(getattr(trainer, "datamodule", None)):
            return
        data = _evaluation_data(trainer, pl_module)
        if self.controls and pl_module.frame_spec.num_frames < 2:
            raise ValueError(
                f"`controls`: expected a scorer that sees at least 2 frames, got {pl_module.name}, which sees 1 and so "
                "has no order to change. Remove the controls, or give it more frames."
            )
        index = data.index()
        if self.dry_run:
            orders = (FORWARD, *self.controls)
            names = f" ({', '.join(orders)})" if self.controls else ""
            print(f"{pl_module.name} would {pl_module.plan(index, len(orders))}{names}.")
            data.skip({sample.video for sample in index.samples})
            return
        self.metric = ProblemSetScores(index.problem_sets, self.rescaling, self.strict)
        data.skip(())
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
            return
        from lightning_vista.evaluation.identity import identity
        from lightning_vista.evaluation.run_folder import RunFolder

        key = identity(
            pl_module,
            index,
            precision=str(trainer.precision),
            checkpoint=trainer.ckpt_path,
            controls=self.controls,
        )
        self.run = RunFolder(self.run_path(trainer, pl_module), pl_module.name, key, trainer.predicting)
        pl_module.workspace = self.run.path
        trainer.strategy.barrier("every rank has read the run folder")
        # An endpoint that was down or a video beyond a limit may have had no score for a reason that has passed.
        again: frozenset[str] = frozenset() if _is_limited(trainer) else self.run.unscored
        self._skipped = self.run.scored.keys() - again
        data.skip(self._skipped)
        if self.run.scored:
            rank_zero_info(_resume_message(self.run, len(again), len(index.samples)))
        from lightning_vista.evaluation.film_strips import strip_videos

        self._strips = set(strip_videos(index).values())
        self._started, self._num_scored = time.monotonic(), 0

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the configuration and count the scores of an interrupted run, in one process."""
        if self.metric is not None:
            self.metric.to(pl_module.device)
        if self.run is not None and trainer.is_global_zero and isinstance(pl_module, Scorer):
            self.run.write_config(pl_module)
            # Videos that are scored again are counted with their new pairs.
            self._count([pair for video in self._skipped for pair in self.run.scored[video]])

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the configuration, in one process."""
        if self.run is not None and trainer.is_global_zero and isinstance(pl_module, Scorer):
            self.run.write_config(pl_module)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Journal the scores of a batch, intact and under controls, and count the intact ones."""
        if self.metric is not None:
            scored = [*outputs, *self._controlled(trainer.strategy.test_step, batch, batch_idx)]
            self._count(self._append(trainer, scored, batch))

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Journal the scores of a batch, intact and under controls."""
        if self.metric is not None:
            scored = [*outputs, *self._controlled(trainer.strategy.predict_step, batch, batch_idx)]
            self._append(trainer, scored, batch)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the figures and finish the run folder."""
        if self.metric is not None:
            figures = {f"test/{name}": value.float() for name, value in self.metric.compute().items()}
            pl_module.log_dict(figures, sync_dist=trainer.world_size > 1)
            self._finish(trainer)

    def on_predict_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finish the run folder."""
        self._finish(trainer)

    def _append(self, trainer: L.Trainer, pairs: "list[PairScores]", batch: Any) -> "list[PairScores]":
        """Journal the scores of a batch; its strips come first, since what is journalled is not seen again."""
        if self.run is not None:
            pairs = self.run.with_earlier(pairs)
            from lightning_vista.evaluation.film_strips import write_strips

            write_strips(batch, self._strips, self.run.path)
            self.run.append(pairs, trainer.global_rank)
            self._num_scored += len(batch)
        return pairs

    def _controlled(self, step: Callable[..., Any], batch: Any, batch_idx: int) -> "list[PairScores]":
        """Score a batch once more under every control; the strategy's steps hold the trainer's precision."""
        return [
            pair._replace(order=control)
            for control in self.controls
            for pair in step(reorder_frames(batch, control), batch_idx)
        ]

    def _count(self, scored: "list[PairScores]") -> None:
        from lightning_vista.evaluation.pairs import metric_rows

        pairs = [pair for pair in scored if pair.order == FORWARD]
        if pairs and self.metric is not None:
            self.metric.update(**metric_rows(self.metric, pairs))

    def _finish(self, trainer: L.Trainer) -> None:
        from lightning_vista.evaluation.example_videos import write_examples
        from lightning_vista.evaluation.provenance import PROVENANCE_NAME, describe_run, write_provenance

        if self.run is None:
            return
        trainer.strategy.barrier("every rank has written its journal")
        if trainer.is_global_zero:
            data: Any = getattr(trainer, "datamodule", None)  # checked in `setup`
            index = data.index()
            scorer: Any = trainer.lightning_module
            is_baseline = bool(getattr(scorer, "is_baseline", False))
            table = self.run.finish(index.problem_sets, len(index.samples), is_baseline)
            write_examples(self.run.path, index, data.storage())
            if self._num_scored or not (self.run.path / PROVENANCE_NAME).exists():
                seconds = time.monotonic() - self._started
                videos = self._num_scored * trainer.world_size  # every rank scores as many, give or take one
                about = describe_run(scorer, index, self.controls, str(trainer.precision), videos, seconds)
                write_provenance(about, self.run.path)
            if table.is_partial:
                rank_zero_warn(
                    f"{table.num_videos} of {table.planned} videos are scored, so the figures are those of a part. "
                    "The same command without a limit of batches scores the others."
                )
            folder = shlex.quote(str(self.run.path))
            report = f" Next: lightning-vista report {folder} --out report" if trainer.testing else ""
            rank_zero_info(f"The scores are in {folder}.{report}")


def find_evaluation(trainer: L.Trainer) -> Evaluation | None:
    """Return the trainer's `Evaluation`, or None.

    Args:
        trainer: The trainer.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
    return next((callback for callback in callbacks if isinstance(callback, Evaluation)), None)


def _is_limited(trainer: L.Trainer) -> bool:
    """Say whether a run has a limit of batches, which then go to videos without any score."""
    limit = trainer.limit_predict_batches if trainer.predicting else trainer.limit_test_batches
    return not (isinstance(limit, float) and limit == 1.0)  # as an integer, 1 is a single batch


def _resume_message(run: "RunFolder", again: int, total: int) -> str:
    """Say which videos of a run folder are scored again, and which are not."""
    parts = []
    if done := len(run.scored) - again:
        parts.append(f"{run.path} holds the scores of {done} of {total} videos, which are not scored again.")
    if again:
        parts.append(f"{run.path} holds unscored pairs of {again} of {total} videos, which are scored again.")
    elif run.unscored:
        parts.append(f"{len(run.unscored)} of these have unscored pairs; a run without a limit of batches scores them.")
    # The identity covers arguments and weights, but not the scorer's own code.
    parts.append("If the scorer's code has changed since, give another `evaluation.run_dir`.")
    return " ".join(parts)


def _evaluation_data(trainer: L.Trainer, scorer: Scorer) -> EvaluationData:
    """Return the trainer's datamodule, if the scorer can be evaluated on it."""
    datamodule = getattr(trainer, "datamodule", None)
    if not isinstance(datamodule, EvaluationData):
        raise ValueError(
            f"{type(scorer).__name__} is evaluated on a ViSTaDataModule, got {type(datamodule).__name__}. "
            "Call trainer.test(scorer, datamodule=ViSTaDataModule(shards, scorer.frame_spec))."
        )
    if datamodule.frame_spec != scorer.frame_spec:
        raise ValueError(
            f"`frame_spec`: expected {scorer.frame_spec}, which {scorer.name} wants, got {datamodule.frame_spec}. "
            "Create the datamodule with frame_spec=scorer.frame_spec."
        )
    return datamodule

"""What every judge has in common: the one evaluation loop of the benchmark."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning as L

from lightning_vista.metrics import ProblemSetScores, Rescaling
from lightning_vista.scorers.examples import write_examples
from lightning_vista.scorers.identity import config_hash, write_config
from lightning_vista.scorers.pairs import Scores, metric_rows, pair_scores
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.index import ShardIndex
from lightning_vista.vista.run_folder import PairScores, RunFolder
from lightning_vista.vista.tables import declared_kinds


class VLMScorer(L.LightningModule, ABC):
    """A judge: scores every candidate description of every video (ViSTa, section 4).

    Subclasses write `score` and, where they need other frames than 8 of 224x224 pixels, set `frame_spec`. Lightning's
    `test` then evaluates them and writes the run folder; `predict` gives the rows of the score table without targets.

    Args:
        name: What tables and figures call the judge; the class's name by default.
        run_dir: The folder that `test` writes; `runs/<name>` below the trainer's root folder by default. An
            interrupted run goes on in the same folder.
        rescaling: How the logged figures rescale scores: `none`, `video`, `label` or `both` (the paper's). The
            table holds raw scores, so `lightning-vista report` can choose again.
        strict: Whether the logged figures count an unscored video as wrong, or leave it out.
        frame_spec: The frames to look at, in place of the class's own.

    Example:
        >>> class Brightness(VLMScorer):
        ...     def score(self, batch):
        ...         means = batch.frames.float().mean(dim=(1, 2, 3, 4))
        ...         return [
        ...             [Scores(mean.expand(len(candidates.labels))) for candidates in sets]
        ...             for mean, sets in zip(means, batch.candidates)
        ...         ]
        >>> Brightness().name
        'Brightness'
    """

    frame_spec: FrameSpec = FrameSpec()

    def __init__(
        self,
        name: str | None = None,
        run_dir: str | None = None,
        rescaling: Rescaling = "both",
        strict: bool = True,
        frame_spec: FrameSpec | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["run_dir"])
        self.name = name or type(self).__name__
        self.run_dir = run_dir
        self.rescaling: Rescaling = rescaling
        self.strict = strict
        if frame_spec is not None:
            self.frame_spec = frame_spec

    @abstractmethod
    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Score a batch of videos.

        Args:
            batch: Frames, uint8 `(batch, frames, 3, height, width)`, on this module's device, and candidates.

        Returns:
            For each video, `Scores` for each of its `candidates`, in order.
        """

    def fingerprint(self) -> str:
        """What the scores depend on besides the arguments, such as a hash of weights that a path only names.

        A run folder goes on only where this, the arguments and the data are the same. Nothing by default.
        """
        return ""

    @property
    def run_path(self) -> Path:
        """The folder that `test` writes."""
        return Path(self.run_dir or Path(self.trainer.default_root_dir) / "runs" / self.name)

    def setup(self, stage: str) -> None:
        """Open the run folder and leave out what it already holds."""
        if stage != "test":
            return
        index: ShardIndex = self._datamodule.index()
        self.run = RunFolder(self.run_path, self.name, config_hash(self, index))
        write_config(self, self.run.path / "config.yaml")
        self.trainer.strategy.barrier("every rank has read the run folder")
        self.metric = ProblemSetScores(index.problem_sets, self.rescaling, self.strict)
        videos = {sample.video for sample in index.samples}
        # Lightning skips a loop without batches, end and all: so the last video of a finished run is scored again.
        last = {index.samples[-1].video} if videos <= self.run.scored.keys() else set()
        self._replayed = [pair for video in self.run.scored.keys() - last for pair in self.run.scored[video]]
        self._datamodule.leave_out(self.run.scored.keys() - last)

    def on_test_start(self) -> None:
        """Take over the scores of an interrupted run."""
        if self.trainer.is_global_zero:
            self._count(self._replayed)

    def test_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Score a batch, write the scores down, count them."""
        pairs = self._pairs(batch)
        self.run.append(pairs, self.global_rank)
        self._count(pairs)

    def on_test_epoch_end(self) -> None:
        """Log the figures and finish the run folder."""
        figures = {f"test/{name}": value.float() for name, value in self.metric.compute().items()}
        self.log_dict(figures, sync_dist=self.trainer.world_size > 1)
        self.trainer.strategy.barrier("every rank has written its journal")
        if self.trainer.is_global_zero:
            index = self._datamodule.index()
            self.run.finish(declared_kinds(index.problem_sets))
            write_examples(self.run.path, index, self._datamodule.storage())

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> list[dict[str, object]]:
        """The rows of the score table for a batch, without targets."""
        return [row for pair in self._pairs(batch.without_targets()) for row in pair.rows(self.name)]

    def _pairs(self, batch: VideoBatch) -> list[PairScores]:
        scores = self.score(batch.without_targets()) if len(batch) else []
        return pair_scores(batch, scores, type(self).__name__)

    def _count(self, pairs: list[PairScores]) -> None:
        if pairs:
            self.metric.update(**metric_rows(self.metric, pairs))

    @property
    def _datamodule(self) -> Any:  # the core does not know the datamodules
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is None or not hasattr(datamodule, "leave_out"):
            raise ValueError(
                f"{type(self).__name__} is evaluated on a ViSTaDataModule, got {type(datamodule).__name__}: "
                "call trainer.test(scorer, datamodule=ViSTaDataModule(shards, scorer.frame_spec))."
            )
        if datamodule.frame_spec != self.frame_spec:
            raise ValueError(
                f"The datamodule gives {datamodule.frame_spec}, but {self.name} wants {self.frame_spec}: "
                "make it with frame_spec=scorer.frame_spec."
            )
        return datamodule

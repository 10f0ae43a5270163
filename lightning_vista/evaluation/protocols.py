"""Protocols of the scorer and the datamodule of a run; neither room is imported for them."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

if TYPE_CHECKING:  # of the extra `vista`, which people who only train need not have
    from lightning_vista.video import FrameSpec
    from lightning_vista.vista.index import ShardIndex
    from lightning_vista.vista.storage import Storage


@runtime_checkable
class Scorer(Protocol):
    """A LightningModule whose `test_step` and `predict_step` return `list[PairScores]`, such as `VLMScorer`.

    Attributes:
        name: The name of the scorer in tables and figures.
        frame_spec: The frames that it scores.
        workspace: The folder for files that should outlive an interruption, such as paid replies; set by the run.
    """

    name: str
    frame_spec: "FrameSpec"
    workspace: Any

    @property
    def hparams(self) -> Mapping[str, Any]:
        """The arguments of the constructor that change scores."""

    @property
    def device(self) -> torch.device:
        """The device of the scorer."""

    def fingerprint(self) -> str:
        """Return what scores depend on besides arguments and weights, such as the hash of a tokenizer."""

    def plan(self, index: "ShardIndex", orders: int = 1) -> str:
        """Describe in words what an evaluation would do that scores each video in so many orders of frames."""


@runtime_checkable
class EvaluationData(Protocol):
    """A datamodule that can be evaluated on, such as `ViSTaDataModule`.

    Attributes:
        frame_spec: The frames that its batches hold.
    """

    frame_spec: "FrameSpec"

    def index(self) -> "ShardIndex":
        """Return the index of the videos to evaluate, after `setup`."""

    def storage(self) -> "Storage":
        """Return the folder of their shards."""

    def skip(self, videos: Collection[str]) -> None:
        """Leave these videos out of the next test or prediction: they have all of their scores."""


@runtime_checkable
class TestsItself(Protocol):
    """A scorer with a test of its own for some data, such as problem sets in the form of training."""

    def tests_itself(self, datamodule: Any) -> bool:
        """Return whether `test_step` measures this datamodule's batches, which then writes no run folder."""

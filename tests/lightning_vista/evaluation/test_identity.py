from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation.identity import identity
from lightning_vista.scorers import EmbeddingScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista import ProblemSets


class Weighted(EmbeddingScorer):
    """Has whatever scores may depend on."""

    frame_spec = FrameSpec(num_frames=2, size=16)

    def __init__(self, power: int = 1) -> None:
        super().__init__()
        self.gain, self.power, self.activation = torch.nn.Parameter(torch.ones(())), power, torch.nn.GELU()

    def embed_videos(self, frames: Tensor) -> Tensor:
        embedded: Tensor = self.activation(self.gain * (frames.float() / 255).mean(dim=(1, 3, 4)) ** self.power)
        return embedded

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(len(text)), 1.0, 0.0] for text in texts])


@pytest.mark.parametrize(
    "change",
    ["precision", "checkpoint", "frames", "weights", "module", "argument", "hint", "order", "version", "controls"],
)
def test_whatever_changes_scores_changes_the_identity(
    change: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datamodule = ViSTaDataModule(str(shards))
    datamodule.setup("test")
    index = datamodule.index()
    scorer, options = Weighted(), dict[str, Any]()
    before = identity(scorer, index)
    assert before == identity(Weighted(), index)
    if change == "precision":
        options["precision"] = "bf16-mixed"
    elif change == "checkpoint":
        (tmp_path / "a.ckpt").write_bytes(b"weights")
        options["checkpoint"] = str(tmp_path / "a.ckpt")
    elif change == "frames":
        scorer.frame_spec = FrameSpec(num_frames=3, size=16)
    elif change == "weights":
        scorer.gain.data.fill_(2)
    elif change == "module":
        scorer.activation = torch.nn.GELU("tanh")
    elif change == "argument":
        scorer = Weighted(power=2)
    elif change == "hint":
        sets = [replace(each, hint="Watch the doors.") for each in index.problem_sets]
        index = replace(index, problem_sets=ProblemSets(sets))
    elif change == "order":
        reversed_ = [
            replace(each, descriptions=dict(reversed([*each.descriptions.items()]))) for each in index.problem_sets
        ]
        index = replace(index, problem_sets=ProblemSets(reversed_))
    elif change == "controls":
        options["controls"] = ["reversed", "static"]
        assert identity(scorer, index, controls=["static", "reversed"]) == identity(scorer, index, **options)
        assert identity(scorer, index, controls=["reversed"]) not in (before, identity(scorer, index, **options))
    else:
        monkeypatch.setattr(torch, "__version__", "0")
    assert identity(scorer, index, **options) != before

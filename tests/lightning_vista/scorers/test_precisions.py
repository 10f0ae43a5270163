"""Every scorer under every precision of Lightning's trainer."""

from collections.abc import Callable, Sequence
from pathlib import Path

import lightning as L
import polars as pl
import pytest
import torch
from tiny_chat_model import save_llava
from tiny_checkpoints import save_clip, save_open_clip, save_siglip, save_viclip, siglip_tokenizer
from torch import Tensor

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation import Scores, pair_scores
from lightning_vista.mini import Slot, sample_draft
from lightning_vista.scorers import (
    CLIPScorer,
    DualEncoderScorer,
    EmbeddingScorer,
    LocalChatScorer,
    OpenCLIPScorer,
    RandomScorer,
    ViCLIPScorer,
    VLMScorer,
)
from lightning_vista.scorers.dual.heads import Head
from lightning_vista.video import FrameSpec, encode_mp4
from lightning_vista.vista import write_problem_sets
from lightning_vista.vista.batch import VideoBatch, clips_batch
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.tables import read_scores

#: Precision -> largest difference of a cosine from that in float32.
PRECISIONS = {"bf16-mixed": 0.02, "bf16-true": 0.02, "16-true": 0.01, "64-true": 0.01}


class Plain(VLMScorer):
    """A network of its own, and one score for all candidates plus their number."""

    frame_spec = FrameSpec(num_frames=2, size=16)

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Linear(3, 1)
        torch.nn.init.constant_(self.network.weight, 0.3)
        torch.nn.init.zeros_(self.network.bias)

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        means = batch.frames.to(self.network.weight.dtype).div(255).mean(dim=(1, 3, 4))
        values = self.network(means).float()
        return [
            [Scores(value + torch.arange(len(candidates.labels)).float() / 7) for candidates in sets]
            for value, sets in zip(values, batch.candidates, strict=True)
        ]


class Colours(EmbeddingScorer):
    """A small network for frames, and fixed vectors for texts."""

    frame_spec = FrameSpec(num_frames=2, size=16)

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Linear(3, 3)
        torch.nn.init.eye_(self.network.weight)
        torch.nn.init.constant_(self.network.bias, 0.1)

    def embed_videos(self, frames: Tensor) -> Tensor:
        means = frames.to(self.network.weight.dtype).div(255).mean(dim=(1, 3, 4))
        embedded: Tensor = self.network(means)
        return embedded

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        words = torch.tensor([[float(ord(text[-1]) % 7), 1.0, 2.0] for text in texts])
        return torch.nn.functional.normalize(words, dim=-1)


SCORERS: dict[str, Callable[[Path], VLMScorer]] = {
    "random": lambda folder: RandomScorer(),
    "plain": lambda folder: Plain(),
    "embedding": lambda folder: Colours(),
    "clip": lambda folder: CLIPScorer(save_clip(folder), num_frames=2),
    "siglip": lambda folder: CLIPScorer(save_siglip(folder, siglip_tokenizer()), num_frames=2),
    "open_clip": lambda folder: OpenCLIPScorer(save_open_clip(folder), num_frames=2),
    "viclip": lambda folder: ViCLIPScorer(save_viclip(folder)),
    "mean": lambda folder: DualEncoderScorer("mean", weights="shipped", allow_unknown=True),
    "temporal": lambda folder: DualEncoderScorer("temporal", weights="shipped", allow_unknown=True),
    "slot": lambda folder: DualEncoderScorer("slot", weights="shipped", allow_unknown=True),
    "local_chat": lambda folder: LocalChatScorer(save_llava(folder), num_frames=2, size=16, max_tokens=2, name="tiny"),
}


def evaluate(scorer: VLMScorer, shards: Path, run_dir: Path, precision: str) -> pl.DataFrame:
    data = ViSTaDataModule(str(shards), scorer.frame_spec, batch_size=4, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        precision=precision,  # type: ignore[arg-type] # one of Lightning's words
        callbacks=[Evaluation(str(run_dir))],
    )
    trainer.test(scorer, data, verbose=False)
    return read_scores(run_dir).rows.sort("problem_set", "video", "label")


@pytest.mark.filterwarnings("ignore:.*does not know the words:UserWarning", "ignore:.*were truncated to:UserWarning")
@pytest.mark.parametrize("kind", SCORERS)
def test_scores_are_those_of_float32_within_rounding(kind: str, shards: Path, tmp_path: Path) -> None:
    expected = evaluate(SCORERS[kind](tmp_path), shards, tmp_path / "run", "32-true")["score"]
    for precision, atol in PRECISIONS.items():
        scores = evaluate(SCORERS[kind](tmp_path), shards, tmp_path / precision, precision)["score"]
        if kind == "local_chat":  # a network of noise says nothing that can be read
            assert scores.len() == expected.len()
        else:
            differences = (scores - expected).abs().to_numpy()
            assert differences.max() <= atol  # NaN is not


def test_weights_that_are_cast_already_are_not_cast_again(shards: Path, tmp_path: Path) -> None:
    for precision in ("bf16-true", "16-true", "64-true"):
        scorer = OpenCLIPScorer(save_open_clip(tmp_path / "model"), dtype="bfloat16", num_frames=2)
        with pytest.raises(ValueError, match=f"expected '32-true' or a mixed one for model-2f.*got '{precision}'"):
            evaluate(scorer, shards, tmp_path / "run", precision)
    evaluate(scorer, shards, tmp_path / "run", "bf16-mixed")


@pytest.fixture(scope="module")
def home_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of the world that the shipped scorers know, with descriptions that are alike."""
    root = tmp_path_factory.mktemp("home")
    problem_sets = []
    for slot in (Slot("test", "home", "remix", 3, 0), Slot("test", "home", "permutation", 4, 0)):
        draft = sample_draft(slot)
        problem_sets.append(draft.problem_set(f"home/level_{slot.level}/{slot.type}/a"))
        for video, (_, episode) in zip(problem_sets[-1].videos, draft.episodes, strict=True):
            path = root / "videos" / problem_sets[-1].video_key(video)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_mp4(episode.frames()))
    write_problem_sets(problem_sets, root)
    build_shards(root / "tasks", root / "videos", root / "shards")
    return root / "shards"


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true"])
@pytest.mark.parametrize("head", ["mean", "temporal", "slot"])
def test_half_precision_makes_no_ties(head: Head, precision: str, home_shards: Path, tmp_path: Path) -> None:
    tables = {}
    for used in ("32-true", precision):
        scorer = DualEncoderScorer(head, weights="shipped")
        tables[used] = evaluate(scorer, home_shards, tmp_path / used, used)
    whole, half = (table["score"].n_unique() for table in tables.values())
    assert half >= whole > 80
    ties = [
        table.group_by("problem_set", "video").agg((pl.len() - pl.col("score").n_unique()).alias("ties"))["ties"].sum()
        for table in tables.values()
    ]
    assert ties[1] <= ties[0]


def test_embeddings_of_other_arithmetic_are_forgotten_and_not_cached_together(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (3, 2, 3, 16, 16), dtype=torch.uint8)
    texts = ["We see a", "We see b"]

    def scores(scorer: Colours, mixed: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return torch.stack([each.values for each in scorer.score_clips(frames, texts)])

    fresh = {mixed: scores(Colours(), mixed) for mixed in (False, True)}
    assert not torch.equal(fresh[False], fresh[True])
    used = Colours()
    used.cache_dir = str(tmp_path)
    for mixed in (True, False, True, False):
        assert torch.equal(scores(used, mixed), fresh[mixed])
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(scores(used.double(), False).float(), scores(Colours().double(), False).float())


def test_scores_in_half_precision_are_warned_of() -> None:
    batch = clips_batch(torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8), ["We see a", "We see b"])
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.warns(UserWarning, match=r"Mine\.score gives scores in half precision.*Compute them in float32"):
            pair_scores(batch, [[Scores(torch.tensor([0.1, 0.2], dtype=dtype))]], "Mine")

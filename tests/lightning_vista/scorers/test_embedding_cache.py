import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import lightning as L
import pytest
import torch
from caching import fill_cache, mean_colours, noise_videos
from killing import killed_after
from safetensors.torch import load, save
from torch import Tensor

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation.identity import hash_weights
from lightning_vista.scorers import EmbeddingScorer
from lightning_vista.scorers.embedding_cache import EmbeddingCache
from lightning_vista.video import FrameSpec
from lightning_vista.vista.tables import read_scores


class Counting(EmbeddingScorer):
    """Counts the videos that it encodes."""

    frame_spec = FrameSpec(num_frames=2, size=16)

    def __init__(
        self,
        power: int = 1,
        name: str | None = None,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__(name, cache_dir=cache_dir)
        self.gain, self.power = torch.nn.Parameter(torch.ones(())), power
        self.encoded = 0

    def embed_videos(self, frames: Tensor) -> Tensor:
        self.encoded += len(frames)
        return self.gain * (frames.float() / 255).mean(dim=(1, 3, 4)) ** self.power

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(len(text)), 1.0, 0.0] for text in texts])


def evaluate(
    scorer: EmbeddingScorer, shards: Path, run_dir: Path, problem_sets: Sequence[str] = ("*",), **options: object
) -> None:
    data = ViSTaDataModule(str(shards), scorer.frame_spec, problem_sets=problem_sets, batch_size=4, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[Evaluation(str(run_dir))],
    )
    trainer.test(scorer, data, verbose=False, **options)  # type: ignore[arg-type]


def test_other_problem_sets_of_the_same_videos_cost_no_encoding(shards: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    first = Counting(cache_dir=cache)
    evaluate(first, shards, tmp_path / "first", ["toy/foundation/*"])
    assert first.encoded == 9
    second = Counting(name="other", cache_dir=cache)
    evaluate(second, shards, tmp_path / "second")
    assert second.encoded == 13 - 9
    third, plain = Counting(cache_dir=cache), Counting()
    evaluate(third, shards, tmp_path / "third")
    evaluate(plain, shards, tmp_path / "plain")
    assert (third.encoded, plain.encoded) == (0, 13)
    assert read_scores(tmp_path / "third").rows.equals(read_scores(tmp_path / "plain").rows)


def test_other_weights_settings_or_frames_share_nothing(shards: Path, tmp_path: Path) -> None:
    scorers = [Counting(), Counting(), Counting(power=2), Counting()]
    scorers[1].gain.data.fill_(2)
    scorers[3].frame_spec = FrameSpec(num_frames=3, size=16)
    for number, scorer in enumerate(scorers):
        scorer.cache_dir = str(tmp_path / "cache")
        evaluate(scorer, shards, tmp_path / str(number))
        assert scorer.encoded == 13


def test_the_weights_of_a_checkpoint_count(shards: Path, tmp_path: Path) -> None:
    """Lightning loads it after `setup`."""
    trained = Counting()
    trained.gain.data.fill_(3)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    trainer.strategy.connect(trained)
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    for number, checkpoint in enumerate((None, str(tmp_path / "trained.ckpt"))):
        scorer = Counting(cache_dir=str(tmp_path / "cache"))
        evaluate(scorer, shards, tmp_path / str(number), ckpt_path=checkpoint)
        assert scorer.encoded == 13


def test_a_run_may_be_resumed_with_another_cache_but_not_with_other_weights(shards: Path, tmp_path: Path) -> None:
    evaluate(Counting(cache_dir=str(tmp_path / "one")), shards, tmp_path / "run")
    again = Counting(cache_dir=str(tmp_path / "two"))
    evaluate(again, shards, tmp_path / "run")
    assert again.encoded == 0
    again.gain.data.fill_(2)
    with pytest.raises(ValueError, match="Give another `evaluation.run_dir`"):
        evaluate(again, shards, tmp_path / "run")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_was_embedded_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    cache, frames, calls = EmbeddingCache(tmp_path), noise_videos(5), []

    def embed(new: Tensor) -> Tensor:
        return new.double().mean(dim=(1, 3, 4)).div(7).to(dtype)

    for videos in (frames[:3], frames, frames.flip(0)):

        def embed_rows(rows: list[int], videos: Tensor = videos) -> Tensor:
            calls.append(rows)
            return embed(videos[rows])

        assert torch.equal(cache.embed(videos, embed_rows), embed(videos))
    assert calls == [[0, 1, 2], [3, 4]]


def test_other_times_are_another_video_where_times_count(tmp_path: Path) -> None:
    cache, frames, calls = EmbeddingCache(tmp_path), noise_videos(2), []

    def embed_rows(rows: list[int]) -> Tensor:
        calls.append(rows)
        return mean_colours(frames[rows])

    for marks in (["a", "b"], ["a", "c"], ["a", "c"], None):
        cache.embed(frames, embed_rows, marks)
    assert calls == [[0, 1], [1], [0, 1]]


def embed_one(rows: list[int]) -> Tensor:
    return mean_colours(noise_videos(1)[rows])


@pytest.mark.parametrize("damage", ["cut", "flipped", "unsealed"])
def test_a_damaged_file_is_named_and_made_again(damage: str, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    whole = cache.embed(noise_videos(1), embed_one)
    (file,) = tmp_path.rglob("*.safetensors")
    content = file.read_bytes()
    flipped = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
    file.write_bytes({"cut": content[:-1], "flipped": flipped, "unsealed": save({"embedding": whole[0] + 1})}[damage])
    with pytest.warns(UserWarning, match=f"{file.name} (is damaged|has no checksum).* It is made again"):
        assert torch.equal(cache.embed(noise_videos(1), embed_one), whole)
    assert cache.damaged == 1
    # safetensors writes its metadata in any order, so the bytes may differ.
    assert torch.equal(load(file.read_bytes())["embedding"], load(content)["embedding"])


def test_processes_may_share_a_folder(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        tasks = [pool.submit(fill_cache, str(tmp_path), order) for order in (1, -1, 1, -1)]
        for task in tasks:
            task.result()
    names = [path.suffix for path in tmp_path.rglob("*") if path.is_file()]
    assert names == [".safetensors"] * 40


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_that_misleads(tmp_path: Path) -> None:
    rng, kills, longest = random.Random(0), 0, 0.1
    while kills < 25:
        folder = tmp_path / str(kills)
        while killed_after(rng.uniform(0, longest), fill_cache, str(folder), 1):
            kills += 1
            longest *= 1.1  # until it is enough, on any machine
            found = EmbeddingCache(folder).embed(noise_videos(40), lambda rows: mean_colours(noise_videos(40)[rows]))
            assert torch.equal(found, mean_colours(noise_videos(40)))


def test_the_hash_of_weights_knows_names_shapes_and_types() -> None:
    def module(**parameters: Tensor) -> torch.nn.Module:
        return torch.nn.ParameterDict(parameters)

    zeros = torch.zeros(4)
    modules = [module(a=zeros), module(b=zeros), module(a=zeros.reshape(2, 2)), module(a=zeros.bfloat16().repeat(2))]
    modules += [module(a=torch.tensor(0.0)), module()]
    assert len({hash_weights(each) for each in modules}) == 6
    assert hash_weights(modules[0]) == hash_weights(module(a=torch.zeros(4)))

"""The formats of our own files: how each is written, and what a command that reads it gets."""

import csv
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from tiny_data import moving_square, tiny_problem_sets
from tiny_llama import tiny_llama

from lightning_vista.callbacks import WandbContinuation, continue_wandb_run
from lightning_vista.commands.lightning_files import NamingCheckpointIO
from lightning_vista.evaluation import Evaluation, PairScores, RunFolder
from lightning_vista.evaluation.example_videos import read_examples, write_examples
from lightning_vista.evaluation.film_strips import write_strips
from lightning_vista.evaluation.progress_file import Progress, ProgressFile, read_progress, write_progress
from lightning_vista.evaluation.provenance import Provenance, read_provenance, write_provenance
from lightning_vista.files.checkpoints import check_checkpoint
from lightning_vista.files.own_files import read_cached, to_sealed_json, write_cached, write_whole
from lightning_vista.files.run_files import check_config, sealed_config
from lightning_vista.integrations.transformers import read_routing_state
from lightning_vista.models import HiddenStates
from lightning_vista.reports.page.strip_pictures import Strips
from lightning_vista.scorers import RandomScorer
from lightning_vista.scorers.chat.reply_cache import ReplyCache
from lightning_vista.scorers.dual.pretraining import FrameEncoder, load_weights, save_weights
from lightning_vista.scorers.embedding_cache import EmbeddingCache
from lightning_vista.study.runs import Run
from lightning_vista.text.rows import Row
from lightning_vista.text.token_shards import find_token_shards, read_token_shards, write_token_shards
from lightning_vista.video import FrameSpec, encode_mp4
from lightning_vista.vista import write_problem_sets
from lightning_vista.vista.batch import Question, VideoBatch
from lightning_vista.vista.build_folder import ShardRecord, read_record, write_record
from lightning_vista.vista.composing import compose_problem_sets
from lightning_vista.vista.index import ShardIndex
from lightning_vista.vista.mini_state import STATE_FILE, read_state
from lightning_vista.vista.parts import BuildPart, merge_parts
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.streams import EvaluationStream, TrainingStream
from lightning_vista.vista.tables import read_scores


@dataclass(frozen=True)
class Format:
    """A format of our own.

    Attributes:
        trials: Number of trials in the whole campaign.
        make: Function that writes the files into a folder.
        pattern: Glob pattern of the files to damage.
        read: Function that reads the folder and returns its values. Values that are made again are left out.
        is_cache: Whether missing values are made again; else all of them must be there.
    """

    trials: int
    make: Callable[[Path], object]
    pattern: str
    read: Callable[[Path], Any]
    is_cache: bool = False


def _table(folder: Path) -> RunFolder:
    run = RunFolder(folder, "judge", "1f3a" * 16)
    rng = random.Random(0)
    for number in range(40):
        scores = (rng.random(), rng.random())
        run.append([PairScores("toy/level_2/permutation/order", f"{number}.mp4", ("a", "b"), scores, (True, False))], 0)
    return run


def _scores(folder: Path) -> Any:
    table = read_scores(folder)
    return table.rows.rows(), table.config_hash, table.kinds, table.planned


def _journal(folder: Path) -> Any:
    return RunFolder(folder, "judge", "1f3a" * 16).scored


def _embeddings(folder: Path) -> Any:
    asked: list[int] = []

    def embed(rows: list[int]) -> torch.Tensor:
        asked.extend(rows)
        return frames[rows].double().mean(dim=(1, 3, 4)).float()

    frames = torch.randint(0, 256, (3, 2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return EmbeddingCache(folder).embed(frames, embed).tolist()


_REQUEST = {"endpoint": "https://a/v1", "model": "m", "messages": []}


def _fill_replies(folder: Path) -> None:
    cache = ReplyCache(folder / "replies.sqlite")
    for number in range(30):
        reply = {"choices": [{"message": {"content": f"a: {number % 6}, b: {number % 5}" * 20}}]}
        cache.put(f"{number:064d}", _REQUEST, reply, (number, 2))
    cache.close()


def _replies(folder: Path) -> Any:
    cache = ReplyCache(folder / "replies.sqlite")
    try:
        found = {f"{number}": cache.get(f"{number:064d}") for number in range(30)}
        return {key: reply for key, reply in found.items() if reply is not None}
    finally:
        cache.close()


def _config(folder: Path) -> Any:
    check_config(folder / "config.yaml")
    lines = (folder / "config.yaml").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def _run(folder: Path) -> Run:
    return Run("a", {}, 0, folder, {"model": {"value": 1}}, {"fit": {}}, "1.0+abc")


def _done(folder: Path) -> Any:
    result = _run(folder).result()
    return {} if result is None else {"metrics": result["metrics"], "seconds": result["seconds"]}


def _record(folder: Path) -> Any:
    found = read_record(folder, "000000.tar", "plan")
    return {} if found is None else {"record": found}


def _write_record(folder: Path) -> None:
    samples = ShardIndex.read(Storage(_SHARDS[0])).samples
    write_record(folder, ShardRecord("000000.tar", list(samples), [], ["a.ts"]), "plan")


_SHARDS: list[Path] = []


def make_dataset(folder: Path) -> None:
    write_problem_sets(tiny_problem_sets(), folder)
    names = {problem_set.video_key(video) for problem_set in tiny_problem_sets() for video in problem_set.videos}
    for seed, name in enumerate(sorted(names)):
        write_whole(folder / "videos" / name, encode_mp4(moving_square(seed)), sync=False)


def _copy_shards(folder: Path) -> None:
    shutil.copytree(_SHARDS[0], folder, dirs_exist_ok=True)


def _index(folder: Path) -> Any:
    return ShardIndex.read(Storage(folder))


def _training_batches(folder: Path) -> Any:
    storage, spec = Storage(folder), FrameSpec(3)
    index = ShardIndex.read(storage)
    streams = (TrainingStream(storage, index, spec, num_workers=0), EvaluationStream(storage, index, spec))
    batches = [batch for stream in streams for batch in stream]
    videos = [(v, f.sum().item()) for batch in batches for v, f in zip(batch.videos, batch.frames, strict=True)]
    return sorted(videos)


def _examples(folder: Path) -> None:
    write_examples(folder, ShardIndex.read(Storage(_SHARDS[0])), Storage(_SHARDS[0]))


def _weights(folder: Path) -> Any:
    settings, state = load_weights(folder / "encoder.safetensors")
    return settings, {name: value.tolist() for name, value in state.items()}


def _write_weights(folder: Path) -> None:
    torch.manual_seed(0)
    encoder = FrameEncoder(size=96, dim=4)
    save_weights(
        torch.nn.Sequential(encoder.attention, encoder.norm), {"dim": 4, "size": 96}, folder / "encoder.safetensors"
    )


def _write_rows(folder: Path) -> None:
    rows = [Row(torch.arange(number, number + 5, dtype=torch.int32), number % 2 == 0, number) for number in range(30)]
    shutil.rmtree(folder)
    write_token_shards({"train": rows, "validation": rows[:5]}, folder, rows_per_shard=12)


def _rows(folder: Path) -> Any:
    shards = find_token_shards(folder)
    if shards is None:
        raise ValueError(f"{folder}/index.json is gone")
    read = {split: list(read_token_shards(paths)) for split, paths in shards.items()}
    return {split: [(row.tokens.tolist(), row.is_forget, row.number) for row in rows] for split, rows in read.items()}


def _write_checkpoint(folder: Path) -> None:
    weights = {"a": torch.arange(400.0), "b": torch.ones(3)}
    torch.save({"epoch": 3, "state_dict": weights, "pytorch-lightning_version": "2.6.6"}, folder / "last.ckpt")


def _checkpoint(folder: Path) -> Any:
    check_checkpoint(folder / "last.ckpt")  # before Lightning parses the command
    loaded = NamingCheckpointIO().load_checkpoint(folder / "last.ckpt")
    return loaded["epoch"], {name: value.tolist() for name, value in loaded["state_dict"].items()}


def _write_progress(folder: Path) -> None:
    curve = Progress("We go", (1, 5, 9), (0.0, 0.5, 1.0), (0.1, 0.4, 0.9), video="a.mp4", problem_set="s")
    write_progress(ProgressFile("judge", (curve,)), folder)


def _state(folder: Path) -> None:
    state = {"settings": {"version": 3, "seed": 0, "scale": 1.0, "splits": ["val"]}, "totals": {"val": {"videos": 7}}}
    write_whole(folder / STATE_FILE, to_sealed_json(state, 2))


def _cached(folder: Path) -> Any:
    found = read_cached(folder / "groups.npz")
    return {} if found is None else {"content": found}


def _write_config(folder: Path) -> None:
    write_whole(
        folder / "config.yaml", sealed_config("seed_everything: 0\nmodel:\n  class_path: A\n" + "  a: 1\n" * 40)
    )


def _write_circumstances(folder: Path) -> None:
    arguments, frames = {"seed": "3", "weights": "clip.pt"}, {"num_frames": 8, "sampling": "uniform", "size": 224}
    dataset = {"environments": ["toy"], "problem_sets": 3, "videos": 13, "plan": "1f3a" * 16}
    facts = {"licence": "MIT", "cost": "0.25 USD"}
    timed: dict[str, Any] = {"videos": 13, "seconds": 31.5, "finished": "2026-01-02T03:04:05+00:00"}
    write_provenance(
        Provenance("judge", "a.Judge", arguments, frames, ("reversed",), "32-true", "cpu", dataset, facts, **timed),
        folder,
    )


def _circumstances(folder: Path) -> Provenance:
    found = read_provenance(folder)
    if found is None:
        raise ValueError("run.json is gone")
    return found


_FILMED = ("toy/a.mp4", "toy/b.mp4")


def _write_strips(folder: Path) -> None:
    frames = torch.stack([torch.from_numpy(moving_square(seed)).permute(0, 3, 1, 2) for seed in range(len(_FILMED))])
    questions = [Question(video, (), None) for video in _FILMED]
    write_strips(VideoBatch(frames, [range(frames.shape[1])] * len(_FILMED), questions), set(_FILMED), folder)


def _strips(folder: Path) -> Any:
    strips = Strips([folder])
    return [(strips.small(video), strips.large(video)) for video in _FILMED if strips.video_of([video])]


def _wandb_trainer(folder: Path, **options: Any) -> L.Trainer:
    logger = WandbLogger(save_dir=folder, offline=True, **options)
    return L.Trainer(accelerator="cpu", logger=logger, callbacks=[Evaluation(str(folder))])


def _write_wandb_run(folder: Path) -> None:
    trainer, callback = _wandb_trainer(folder, id="a1b2c3d4"), WandbContinuation()
    trainer.callbacks[0].run = RunFolder(folder, "random-scorer", "1f3a" * 16)  # type: ignore[attr-defined]
    callback.on_test_start(trainer, RandomScorer())


def _wandb_run(folder: Path) -> str | None:
    return continue_wandb_run(_wandb_trainer(folder), RandomScorer())


def _write_parts(folder: Path) -> None:
    source = _SHARDS[0].with_name("dataset")
    for number in (1, 2):
        out, part = folder / f"part-{number}", BuildPart(number, 2)
        build_shards(source / "tasks", source / "videos", out, max_shard_mb=0.008, num_workers=1, part=part)


def _merge(folder: Path, out: Path) -> Any:
    merge_parts([folder / "part-1", folder / "part-2"], out)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def _parts(folder: Path) -> Any:
    with tempfile.TemporaryDirectory() as out:
        return _merge(folder, Path(out))


def _write_merged(folder: Path) -> None:
    _write_parts(folder)
    _merge(folder, folder / "merged")


def _write_model(folder: Path) -> None:
    tiny_llama().float().save_pretrained(folder / "model")
    _states(folder)


def _states(folder: Path) -> Any:
    rows = [Row(torch.arange(3, length, dtype=torch.int32), False, length) for length in (6, 9)]
    found = HiddenStates(str(folder / "model"), num_layers=2, cache=str(folder / "states")).add(rows)
    return [row.states.tolist() for row in found if row.states is not None]


def _write_clips(folder: Path) -> None:
    names = [(f"{number}.mp4", f"turn {'abcd'[number // 2]}") for number in range(8)]
    for seed, (name, _) in enumerate(names):
        write_whole(folder / name, encode_mp4(moving_square(seed, frames=4)), sync=False)
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "step"), *names])
    _composed(folder)


def _composed(folder: Path) -> Any:
    """Resume a composition that ended before its last file."""
    out = folder / "composed"
    options: Any = {"levels": (2,), "kinds": ("general",), "num_sets": 1, "candidates": 2, "size": 32}
    compose_problem_sets(folder / "clips.csv", out, **options)
    shutil.rmtree(out / "test/tasks")
    (out / "test/metadata.csv").unlink()
    return {path.name: path.read_bytes() for path in sorted(out.rglob("*.mp4"))}


def _write_routing_state(folder: Path) -> None:
    state = {"settings": {"strategy": "gradient"}, "rules": [{"count": 3, "seen": torch.arange(20)}]}
    torch.save(state, folder / "routing.pt")


def _routing_state(folder: Path) -> Any:
    state = read_routing_state(folder / "routing.pt")
    return state["settings"], [{**rule, "seen": rule["seen"].tolist()} for rule in state["rules"]]


FORMATS: dict[str, Format] = {
    "score table": Format(200, lambda folder: _table(folder).finish([]), "scores.parquet", _scores),
    "journal": Format(200, _table, ".scores-0.jsonl", _journal, is_cache=True),
    "index": Format(200, _copy_shards, "index.json", _index),
    "record of a shard": Format(100, _write_record, ".000000.tar.json", _record, is_cache=True),
    "training shard": Format(100, _copy_shards, "*.tar", _training_batches),
    "embedding cache": Format(150, _embeddings, "*/*.safetensors", _embeddings),
    "reply cache": Format(200, _fill_replies, "replies.sqlite", _replies, is_cache=True),
    "examples": Format(100, _examples, "examples/*", read_examples),
    "run config": Format(100, _write_config, "config.yaml", _config),
    "exported weights": Format(150, _write_weights, "encoder.safetensors", _weights),
    "done.json": Format(
        50, lambda folder: _run(folder).finish({"test/f1": 0.25}, 3.5), "done.json", _done, is_cache=True
    ),
    "mini.json": Format(50, _state, STATE_FILE, read_state),
    "progress.json": Format(50, _write_progress, "progress.json", read_progress),
    "token shards": Format(100, _write_rows, "*", _rows),
    "training cache": Format(
        50, lambda folder: write_cached(folder / "groups.npz", bytes(range(200))), "*", _cached, is_cache=True
    ),
    "checkpoint": Format(100, _write_checkpoint, "last.ckpt", _checkpoint),
    "run.json": Format(50, _write_circumstances, "run.json", _circumstances),
    "film strips": Format(50, _write_strips, "strips/*", _strips),
    "wandb_run.json": Format(50, _write_wandb_run, "wandb_run.json", _wandb_run),
    "parts of shards": Format(100, _write_parts, "part-*/[!.]*", _parts),
    "merged shards": Format(50, _write_merged, "merged/*", lambda folder: _merge(folder, folder / "merged")),
    "hidden states": Format(50, _write_model, "states/*", _states),
    "composed videos": Format(50, _write_clips, "composed/**/*.mp4", _composed),
    "routing.pt": Format(100, _write_routing_state, "routing.pt", _routing_state),
}


def prepare_shared(folder: Path) -> None:
    """Make the dataset and the shards that several formats begin with."""
    make_dataset(folder / "dataset")
    build_shards(
        folder / "dataset/tasks", folder / "dataset/videos", folder / "shards", max_shard_mb=0.02, num_workers=1
    )
    _SHARDS[:] = [folder / "shards"]

"""Damage to our own files: bytes flipped, cut, inserted, overwritten or moved; the outcome is never another value."""

import contextlib
import json
import random
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from harness import Kind, Outcome, Verdict
from tiny_data import moving_square, tiny_problem_sets

from lightning_vista.commands.lightning_files import NamingCheckpointIO, check_checkpoint
from lightning_vista.evaluation import PairScores, RunFolder
from lightning_vista.evaluation.example_videos import read_examples, write_examples
from lightning_vista.evaluation.progress_file import Progress, ProgressFile, read_progress, write_progress
from lightning_vista.files.own_files import read_cached, to_sealed_json, write_cached, write_whole
from lightning_vista.files.run_files import check_config, sealed_config
from lightning_vista.mini.build import STATE_FILE, read_state
from lightning_vista.scorers.chat.reply_cache import ReplyCache
from lightning_vista.scorers.dual.pretraining import FrameEncoder, load_weights, save_weights
from lightning_vista.scorers.embedding_cache import EmbeddingCache
from lightning_vista.study.runs import Run
from lightning_vista.text.rows import Row
from lightning_vista.text.token_shards import find_token_shards, read_token_shards, write_token_shards
from lightning_vista.video import FrameSpec, encode_mp4
from lightning_vista.vista import write_problem_sets
from lightning_vista.vista.build_folder import ShardRecord, read_record, write_record
from lightning_vista.vista.index import ShardIndex
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


def damage(content: bytes, rng: random.Random) -> bytes:
    """Return other content: the damages of disks, transfers, editors and people."""
    while True:
        place, size = rng.randrange(len(content)), rng.choice((1, 1, 2, 8, 64, 512))
        before, middle, after = content[:place], content[place : place + size], content[place + size :]
        noise = rng.randbytes(size)
        changed = rng.choice(
            (
                before + bytes([middle[0] ^ (1 << rng.randrange(8))]) + middle[1:] + after,  # one bit
                before + bytes([rng.choice(b"0123456789")]) + middle[1:] + after,  # a digit
                before + noise[: len(middle)] + after,
                before + bytes(len(middle)) + after,
                before,  # cut
                before + after,  # bytes lost
                before + noise + middle + after,  # bytes inserted
                before + middle + middle + after,  # twice
                after[: len(after) // 2] + before + middle + after[len(after) // 2 :],  # moved
            )
        )
        if changed != content:
            return changed


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
}


def prepare(folder: Path) -> dict[str, tuple[Path, Any]]:
    """Make whole files of every format, and their values."""
    make_dataset(folder / "dataset")
    build_shards(
        folder / "dataset/tasks", folder / "dataset/videos", folder / "shards", max_shard_mb=0.02, num_workers=1
    )
    _SHARDS[:] = [folder / "shards"]
    made = {}
    for name, format in FORMATS.items():
        path = folder / name
        path.mkdir()
        format.make(path)
        made[name] = path, format.read(path)
    return made


def trial(made: dict[str, tuple[Path, Any]], subject: str, rng: random.Random, folder: Path) -> Verdict:
    """Damage a file and read it."""
    format, (whole, value) = FORMATS[subject], made[subject]
    work = folder / "work"
    shutil.copytree(whole, work)
    paths = sorted(path for path in work.rglob(format.pattern) if path.is_file())
    path = rng.choice(paths)
    path.write_bytes(damage(path.read_bytes(), rng))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with _no_output():
                found = format.read(work)
        except (ValueError, OSError) as error:
            message = str(error)
            named = any(name in message for name in (path.name, path.stem, _key(path)))
            return Verdict(Outcome.REFUSED if named else Outcome.UNNAMED, f"{path.name}: {message}")
    named = any(path.name in str(warning.message) for warning in told)
    if found == value:
        return Verdict(Outcome.REMADE if named else Outcome.SAME)
    if format.is_cache and found.items() <= value.items():
        return Verdict(Outcome.REMADE)
    return Verdict(Outcome.WRONG, f"{path.name}: {_first_difference(value, found)}")


def _key(path: Path) -> str:
    """Return the name by which an error may name a file that lies in another: the shard of a sample."""
    return f"shard {path.name}"


def _first_difference(value: Any, found: Any) -> str:
    first, second = (re.sub(r"\s+", " ", json.dumps(part, default=str)) for part in (value, found))
    place = next((number for number, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), 0)
    return (
        f"expected ...{first[max(0, place - 20) : place + 60]}..., got ...{second[max(0, place - 20) : place + 60]}..."
    )


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Drop what panics of other languages' libraries print."""
    with contextlib.redirect_stderr(sys.stdout):
        yield


KIND = Kind("mutations", {name: format.trials for name, format in FORMATS.items()}, trial, prepare=prepare, sample=480)

"""Inputs made by somebody who means harm: each is refused with its name, quickly, and opens nothing."""

import json
import os
import random
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import Kind, Outcome, Verdict
from hostile_samples import HOSTILE_SAMPLES, replace_sample
from hostile_videos import HOSTILE_VIDEOS
from own_formats import make_dataset

from lightning_vista.commands.lightning_files import NamingCheckpointIO
from lightning_vista.files.checkpoints import load_without_code
from lightning_vista.files.own_files import SEAL_KEY, VERSION_KEY, to_sealed_json
from lightning_vista.scorers import RandomScorer
from lightning_vista.video import FrameSpec, VideoError
from lightning_vista.vista import read_problem_sets
from lightning_vista.vista.index import INDEX_VERSION, ShardIndex
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.streams import EvaluationStream
from lightning_vista.vista.verification import verify_shards

#: Seconds that a refusal may take, on a busy machine.
_QUICK = 60


@dataclass(frozen=True)
class State:
    """A good dataset and its shards, of which trials change copies."""

    dataset: Path
    shards: Path


def prepare(folder: Path) -> State:
    """Make the dataset and its shards."""
    make_dataset(folder)
    build_shards(folder / "tasks", folder / "videos", folder / "shards", max_shard_mb=0.02)
    return State(folder, folder / "shards")


def _refusal(work: Callable[[], object], name: str) -> Verdict:
    """Do the work, which has to end quickly in a one-line error of ours that names the file."""
    start = time.monotonic()
    try:
        result = work()
    except (ValueError, OSError) as error:
        if time.monotonic() - start > _QUICK:
            return Verdict(Outcome.HANG, f"refused after {time.monotonic() - start:.0f} s")
        said = str(error)
        return Verdict(Outcome.REFUSED) if name in said else Verdict(Outcome.UNNAMED, said[:300])
    return Verdict(Outcome.WRONG, f"accepted: {str(result)[:200]}")


def video(state: State, rng: random.Random, folder: Path) -> Verdict:
    """Score, or build shards of, a file that is not a video, or far too large a one, beside a private one."""
    kind = rng.choice(list(HOSTILE_VIDEOS))
    private = next((state.dataset / "videos").rglob("*.mp4"))
    shutil.copy(private, folder / "private.mp4")
    before = os.getcwd()  # noqa: PTH109 # FFmpeg looks for relative names here
    os.chdir(folder)
    try:
        path = folder / f"{kind.replace(' ', '_')}.mp4"
        path.write_bytes(HOSTILE_VIDEOS[kind](rng, folder))
        verdict = _refusal(lambda: RandomScorer().score_video(path, ["a", "b"]), path.name)
        if not verdict.outcome.is_right:
            return verdict
        copy = folder / "dataset"
        shutil.copytree(state.dataset / "tasks", copy / "tasks")
        shutil.copytree(state.dataset / "videos", copy / "videos")
        victim = rng.choice(sorted((copy / "videos").rglob("*.mp4")))
        shutil.copy(path, victim)
        name = victim.relative_to(copy / "videos").as_posix()
        return _refusal(lambda: build_shards(copy / "tasks", copy / "videos", folder / "out"), name)
    finally:
        os.chdir(before)


def _yaml_texts(rng: random.Random) -> list[str]:
    depth, key = rng.randrange(200, 100_000), rng.choice("abc")
    width = rng.randrange(8, 14)
    bomb = [f"l0: &l0 [{', '.join(['x'] * width)}]"]
    bomb += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * width)}]" for n in range(1, rng.randrange(7, 12))]
    labels = "label_prompts:\n  a: We wait\n  b: We go\n"
    return [
        "\n".join(bomb),
        "[" * depth,
        "{a: " * depth,
        "- " * depth + "a",
        f"{labels}metadata: {'[' * depth}{']' * depth}",
        f"{labels}date: {rng.randrange(1900, 2100)}-01-{rng.randrange(1, 28):02d}",
        f"label_prompts:\n  {rng.randrange(1900, 2100)}-01-02: We wait\n  b: We go",
        f"{labels}x: !!binary {'QUJD' * rng.randrange(1, 9)}",
        f"{labels}x: !!set {{p, q}}",
        f"{labels}x: !!omap [p: 1]",
        f"{labels}x: !!python/object/apply:os.system ['touch pwned']",
        f"{labels}x: !!python/name:os.system",
        f"{labels}x: !{rng.choice(['own', 'include'])} private.yaml",
        f"{labels}label_prompts:\n  {key}: We stay",
        f"label_prompts:\n  a: We wait\n  b: We go\n  {rng.choice('ab')}: We stay",
        f"{labels}x: &x [*x]",
        f"{labels}x: {'9' * rng.randrange(4400, 9000)}",
        f'{labels}prompt_gpt: "\\0{key}"',
        f"{labels}---\n{labels}",
        f"? [{key}]\n: x\n{labels}",
        f"label_prompts: [{key}]",
        "label_prompts:\n  a: {b: c}",
        f"label_prompts:\n  1: We wait\n  {key}: We go",
    ]


def task_yaml(state: State, rng: random.Random, folder: Path) -> Verdict:
    """Read a tree with one bad YAML file."""
    shutil.copytree(state.dataset / "tasks", folder / "tasks")
    victim = rng.choice(sorted((folder / "tasks").rglob("*.yaml")))
    victim.write_text(rng.choice(_yaml_texts(rng)))
    return _refusal(lambda: read_problem_sets(folder / "tasks"), victim.name)


def _json_texts(rng: random.Random) -> list[str]:
    depth = rng.randrange(60, 200_000)
    entry = {"path": "a/b.mp4", "label": "a"}
    paths = ["../" * rng.randrange(1, 9) + "x.mp4", "/etc/passwd", "a\\..\\b.mp4", "a\nb.mp4", "", ".", "a/../../b.mp4"]
    return [
        "[" * depth,
        '{"a":' * depth,
        f"[{'[' * depth}{']' * depth}]",
        '[{"path": "a.mp4", "label": "a", "path": "b.mp4"}]',
        "[NaN]",
        "[Infinity]",
        json.dumps([entry]).replace("a/b", "a\\ud800b"),
        json.dumps([entry]).replace("a/b", "a\\u0000b"),
        f"[{'1' * rng.randrange(4400, 9000)}]",
        json.dumps([{**entry, "path": rng.choice(paths)}]),
        json.dumps([{**entry, "path": rng.choice([5, None, ["a"], {"a": 1}])}]),
        json.dumps([{**entry, "label": rng.choice([5, None, ["a"], "zzz", "a,a", ""])}]),
        json.dumps([entry, entry]),
        json.dumps({"path": "a"}),
        "",
        '"a"',
    ]


def task_json(state: State, rng: random.Random, folder: Path) -> Verdict:
    """Read a tree with one bad JSON file."""
    shutil.copytree(state.dataset / "tasks", folder / "tasks")
    victim = rng.choice(sorted((folder / "tasks").rglob("*_data.json")))
    victim.write_text(rng.choice(_json_texts(rng)))
    return _refusal(lambda: read_problem_sets(folder / "tasks"), victim.name)


def shard_index(state: State, rng: random.Random, folder: Path) -> Verdict:
    """Read an index whose entries lead somewhere else; its checksum fits."""
    out = "../" * rng.randrange(1, 7) + rng.choice(["x", "etc/x", "home/x.mp4"])
    changes: list[dict[str, Any]] = [
        {"key": rng.choice([out, "/tmp/x", "0" * 16, "", 5, None])},
        {"video": rng.choice([out, "/etc/passwd", "a", "a/\0", "a/\nb", "", 7, None, ["a"]])},
        {"shard": rng.choice([out, "/etc/passwd", "pipe:touch pwned", "000000.tar.gz", "index.json", "", 3])},
        {"offset": rng.choice([-1, 10**30, "0", 1.5, None, True])},
        {"bytes": rng.choice([-5, 10**25, "all", None, [1]])},
        {"memberships": rng.choice([None, [{}], [{"problem_set": out, "labels": ["a"]}], "a", [["a"]]])},
    ]
    document = json.loads((state.shards / "index.json").read_text())
    rng.choice(document["samples"]).update(rng.choice(changes))
    plain = {key: value for key, value in document.items() if key not in (VERSION_KEY, SEAL_KEY)}
    (folder / "index.json").write_bytes(to_sealed_json(plain, INDEX_VERSION))
    return _refusal(lambda: ShardIndex.read(Storage(folder)), "index.json")


def checkpoint_code(state: State, rng: random.Random, folder: Path) -> Verdict:
    """Load a checkpoint that brings code of its own, which leaves a mark if it runs."""
    import transformers

    mark = folder / "pwned"
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Own: pass\n"
    for name in ("configuration_own.py", "modeling_own.py", "tokenization_own.py", "processing_own.py"):
        (folder / name).write_text(code)
    auto = {
        "AutoConfig": "configuration_own.Own",
        "AutoModel": "modeling_own.Own",
        "AutoModelForCausalLM": "modeling_own.Own",
        "AutoTokenizer": ["tokenization_own.Own", None],
        "AutoProcessor": "processing_own.Own",
    }
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        (folder / name).write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    loader = getattr(transformers, rng.choice(list(auto))).from_pretrained
    verdict = _refusal(lambda: load_without_code(loader, str(folder)), str(folder))
    return Verdict(Outcome.WRONG, "its code was run") if mark.exists() else verdict


def shard_sample(state: State, rng: random.Random, folder: Path) -> Verdict:
    """Verify and read shards with one bad sample, whose checksum fits; without it the others can be scored."""
    shutil.copytree(state.shards, folder / "shards")
    kind = rng.choice(list(HOSTILE_SAMPLES))
    number = rng.randrange(len(ShardIndex.read(Storage(folder / "shards")).samples))
    sample = replace_sample(folder / "shards", lambda sample: HOSTILE_SAMPLES[kind](rng, sample), number)
    verdict = _refusal(lambda: verify_shards(folder / "shards"), sample.video)
    if not verdict.outcome.is_right:
        return verdict
    storage = Storage(folder / "shards")
    stream = partial(EvaluationStream, storage, ShardIndex.read(storage), FrameSpec(num_frames=3))
    unscored = [question.video for batch in stream(on_error="unscored") for question, _ in batch.unreadable]
    if unscored != [sample.video]:
        return Verdict(Outcome.WRONG, f"expected {sample.video} to be unscored, got {unscored}")
    return _refusal(lambda: list(stream()), sample.video)


def _pickled(path: Path, rng: random.Random) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", rng.choice([b"", b"hello", b"\x80\x02e.", rng.randbytes(50)]))
        archive.writestr("archive/version", "3")


def lightning_checkpoint(state: State, rng: random.Random, folder: Path) -> Verdict:
    """Resume from a file that is not a checkpoint, or from one that runs code, as `--ckpt_path` does."""
    path = folder / "last.ckpt"
    make: Callable[[], object] = rng.choice(
        [
            lambda: path.write_text(rng.choice(["hello\n", "e", "{}", "\x80"])),
            lambda: path.write_bytes(bytes(rng.randrange(1, 5000))),
            lambda: path.write_bytes(rng.randbytes(rng.randrange(1, 5000))),
            lambda: _pickled(path, rng),
            lambda: torch.save(rng.choice([[1], {"weight": torch.zeros(1)}, 5]), path),
            lambda: torch.save({"state_dict": {}}, path, _use_new_zipfile_serialization=False),
            lambda: torch.save({"state_dict": {}, "x": _Running(folder / "pwned")}, path),
        ]
    )
    make()
    verdict = _refusal(lambda: NamingCheckpointIO().load_checkpoint(path), str(path))
    return Verdict(Outcome.WRONG, "its code was run") if (folder / "pwned").exists() else verdict


class _Running:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def pipe_or_link(state: State, rng: random.Random, folder: Path) -> Verdict:
    """Read a dataset, or shards, with a pipe in place of a file, or a link that leads out of the folder."""
    shutil.copytree(state.dataset / "tasks", folder / "tasks")
    shutil.copytree(state.shards, folder / "shards")
    readers: list[tuple[Callable[[], object], list[Path]]] = [
        (partial(read_problem_sets, folder / "tasks"), [p for p in (folder / "tasks").rglob("*") if p.is_file()]),
        (partial(verify_shards, folder / "shards"), list((folder / "shards").glob("*.*"))),
    ]
    work, paths = rng.choice(readers)
    path = rng.choice(sorted(paths))
    if path.is_relative_to(folder / "tasks") and rng.random() < 0.5:
        path.symlink_to(path.rename(folder / "outside"))
    else:
        path.unlink()
        os.mkfifo(path)
    return _refusal(work, path.name)


SUBJECTS = {
    "video files": (30, video),
    "YAML of tasks": (18, task_yaml),
    "JSON of tasks": (12, task_json),
    "index.json": (15, shard_index),
    "checkpoints": (5, checkpoint_code),
    "samples of shards": (20, shard_sample),
    "--ckpt_path": (12, lightning_checkpoint),
    "pipes and links": (8, pipe_or_link),
}


def trial(state: State, subject: str, rng: random.Random, folder: Path) -> Verdict:
    """Give one hostile input to the product."""
    try:
        return SUBJECTS[subject][1](state, rng, folder)
    except VideoError as error:
        return Verdict(Outcome.UNNAMED, str(error))


KIND = Kind("hostile", {name: count for name, (count, _) in SUBJECTS.items()}, trial, prepare, sample=25)

"""Commands that are killed or stopped at any moment, and run again: their results are those of an undisturbed run."""

import hashlib
import json
import math
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from harness import Kind, Outcome, Verdict
from own_formats import make_dataset
from stopped_commands import run_command

from lightning_vista.vista.shards import build_shards

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_TRAINER = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
_SHARDS = "--data=ViSTaDataModule"
_STUDY = ["study", "{data}/study.yaml", "--jobs", "2", "--out", "study"]


@dataclass(frozen=True)
class Command:
    """A command to stop.

    Attributes:
        trials: Number of trials in the whole campaign.
        arguments: Arguments; `{data}` is the folder of the input.
        result: Function from the folder in which it ran to its result.
        resumed: Function from that folder to the arguments of the resumed run, where they differ.
    """

    trials: int
    arguments: list[str]
    result: Callable[[Path], Any]
    resumed: Callable[[Path], list[str]] = lambda folder: []


def _files(folder: Path, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the hashes of all files of a folder, without hidden ones: a kill may leave a temporary file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.name.endswith(left_out or "\0")
    }  # fmt: skip


def _scores(folder: Path) -> Any:
    # The configuration names the folder.
    return _files(folder / "run", left_out=(".yaml", "run.json")) | _circumstances(folder / "run")


def _circumstances(folder: Path) -> dict[str, Any]:
    """Return what each `run.json` says, but for the session's duration, end and number of videos."""
    session = ("seconds", "finished", "videos", "seal")
    found = {str(path.relative_to(folder)): json.loads(path.read_text()) for path in folder.rglob("run.json")}
    return {name: {key: content[key] for key in content if key not in session} for name, content in found.items()}


class _Near(float):
    """A number that equals others within 1e-5: float32 sums depend on the texts that are embedded together."""

    __hash__ = None  # type: ignore[assignment] # near numbers cannot have equal hashes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and math.isclose(self, other, abs_tol=1e-5)


def _demo(folder: Path) -> Any:
    """Return the files of a demo, and its curves of progress."""
    curves = {
        path.parent.name: json.loads(path.read_text(), parse_float=_Near)["curves"]
        for path in (folder / "out").rglob("progress.json")
    }
    files = _files(folder / "out", left_out=(".yaml", ".html", "run.json", "progress.json"))
    return files | _circumstances(folder / "out") | {"curves": curves}


def _newest(folder: Path) -> list[str]:
    last = folder / "out" / "checkpoints" / "last.ckpt"
    return [f"--ckpt_path={last}"] if last.exists() else []


def _weights(folder: Path) -> Any:
    state = torch.load(folder / "out" / "checkpoints" / "last.ckpt", weights_only=True)
    return {name: value.tolist() for name, value in state["state_dict"].items()}, state["global_step"]


def _study(folder: Path) -> Any:
    done = sorted((folder / "study").rglob("done.json"))
    return {path.parent.parent.name: json.loads(path.read_text())["metrics"] for path in done}


def _fit(workers: int) -> list[str]:
    return [
        "fit", "--model=drifting_model.DriftingModel", _SHARDS, "--data.train_shards={data}/shards",
        "--data.val_shards={data}/shards",
        "--data.batch_size=2", f"--data.num_workers={workers}", "--data.frame_spec={num_frames: 2, size: 8}",
        "--data.shuffle_buffer=5", *_TRAINER, "--trainer.max_epochs=4", "--trainer.default_root_dir=out",
        "--trainer.limit_val_batches=0", "--trainer.num_sanity_val_steps=0",
        "--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.save_last=true",
        "--trainer.callbacks.every_n_train_steps=1", "--trainer.callbacks.save_top_k=0",
    ]  # fmt: skip


_SCORER = ["--model=RandomScorer", _SHARDS, "--data.shards={data}/shards", "--data.batch_size=1", *_TRAINER]
COMMANDS: dict[str, Command] = {
    "mini": Command(12, ["mini", "out", "--scale", "0.02", "--splits", "val"], lambda folder: _files(folder / "out")),
    "shards build": Command(
        18,
        ["shards", "build", "{data}/dataset/tasks", "{data}/dataset/videos", "out", "--max-shard-mb", "0.008"],
        lambda folder: _files(folder / "out"),
    ),
    "shards verify": Command(4, ["shards", "verify", "{data}/shards"], lambda folder: ()),
    "test": Command(
        20, ["test", *_SCORER, "--evaluation.run_dir=run", "--data.num_workers=0", "--evaluation.controls=[reversed]"],
        _scores,
    ),
    "test, 2 workers": Command(12, ["test", *_SCORER, "--evaluation.run_dir=run", "--data.num_workers=2"], _scores),
    "predict": Command(10, ["predict", *_SCORER, "--evaluation.run_dir=run", "--data.num_workers=0"], _scores),
    "fit": Command(16, _fit(0), _weights, _newest),
    "fit, 2 workers": Command(10, _fit(2), _weights, _newest),
    "study": Command(4, [*_STUDY], _study),
    "study, no workers": Command(2, [*_STUDY, "--set", "data.init_args.num_workers=0"], _study),
    "report": Command(6, ["report", "{data}/run", "--out", "out"], lambda folder: _files(folder / "out")),
    "export": Command(
        4, ["export", "lmms-eval", "{data}/shards", "--out", "out"], lambda folder: _files(folder / "out", (".yaml",))
    ),
    "demo": Command(
        4, ["demo", "--out", "out", "--scale", "0.02"],
        _demo,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Undisturbed:
    """The result and the duration of a command that nobody stops."""

    data: Path
    folder: Path
    result: Any
    seconds: float


def prepare(folder: Path) -> dict[str, Undisturbed]:
    """Make the input; commands are run without a stop when they are first tried."""
    make_dataset(folder / "dataset")
    build_shards(
        folder / "dataset/tasks", folder / "dataset/videos", folder / "shards", max_shard_mb=0.008, num_workers=1
    )
    config = {
        "model": {"class_path": "drifting_model.DriftingModel"},
        "data": {
            "class_path": "ViSTaDataModule",
            "init_args": {
                "train_shards": str(folder / "shards"), "val_shards": str(folder / "shards"),
                "batch_size": 2, "num_workers": 1,
                "frame_spec": {"num_frames": 2, "size": 8},
            },
        },
        "trainer": {
            "accelerator": "cpu", "logger": False, "max_epochs": 2, "limit_val_batches": 0,
            "num_sanity_val_steps": 0, "enable_progress_bar": False,
        },
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    study = {
        "title": "Trial", "summary": "Two runs.", "configs": [str(folder / "run.yaml")], "seeds": [0],
        "runs": [{"name": "a"}, {"name": "b", "overrides": {"data.init_args.batch_size": 3}}],
        "metrics": {"loss": "train/loss"}, "commands": {"fit": {}},
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    ended = run_command(filled(COMMANDS["test"].arguments, folder), folder)
    if ended.exit_code != 0:
        raise RuntimeError(f"test failed: {ended.errors}")
    return {"": Undisturbed(folder, folder, None, 0.0)}


def filled(arguments: list[str], data: Path) -> list[str]:
    """Return arguments with the folder of the input in them."""
    return [argument.replace("{data}", str(data)) for argument in arguments]


def undisturbed(known: dict[str, Undisturbed], subject: str) -> Undisturbed:
    """Return the result of a command without a stop, which is run when it is first needed."""
    if subject not in known:
        data = known[""].data
        folder = data / "undisturbed" / subject.replace(" ", "_")
        # Twice: the first run of a server's process reads modules that the others find in memory.
        for _ in range(2):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            ended = run_command(filled(COMMANDS[subject].arguments, data), folder)
            if ended.exit_code != 0:
                raise RuntimeError(f"{subject} failed without a stop: {ended.errors}")
        known[subject] = Undisturbed(data, folder, COMMANDS[subject].result(folder), ended.seconds)
    return known[subject]


def trial(known: dict[str, Undisturbed], subject: str, rng: random.Random, folder: Path) -> Verdict:
    """Stop a command once or twice, run it again, and compare."""
    command, whole = COMMANDS[subject], undisturbed(known, subject)
    arguments = filled(command.arguments, whole.data)
    for _ in range(rng.choice((1, 1, 2))):
        stop, delay = rng.choice(_SIGNALS), rng.uniform(0, whole.seconds)
        ended = run_command([*arguments, *command.resumed(folder)], folder, stop, delay)
        if (fault := _fault(ended, stop)) is not None:
            return fault._replace(detail=f"{stop.name} after {delay:.2f} s: {fault.detail}")
    ended = run_command([*arguments, *command.resumed(folder)], folder)
    if ended.exit_code != 0:
        return Verdict(Outcome.CRASH, f"resumed: {ended.errors[-400:]}")
    result = command.result(folder)
    return (
        Verdict(Outcome.SAME) if result == whole.result else Verdict(Outcome.WRONG, _difference(whole.result, result))
    )


def _fault(ended: Any, stop: signal.Signals) -> Verdict | None:
    """Return the verdict on a stop that did not end as it should."""
    if ended.exit_code is None:
        return Verdict(Outcome.HANG, "it did not end")
    if ended.orphans:
        return Verdict(Outcome.HANG, f"{len(ended.orphans)} processes stay")
    if stop == signal.SIGKILL or ended.exit_code == 0:
        return None
    lines = [line for line in ended.errors.splitlines() if line.startswith("lightning-vista: Stopped by")]
    # A signal before the command has begun ends Python itself, without a line.
    if ended.exit_code == -stop and "Traceback" not in ended.errors:
        return None
    if ended.exit_code != 128 + stop or len(lines) != 1 or "Traceback" in ended.errors:
        return Verdict(Outcome.CRASH, f"exit code {ended.exit_code}: {ended.errors[-400:]}")
    return None


def _difference(expected: Any, found: Any) -> str:
    if not isinstance(expected, dict) or not isinstance(found, dict):
        return f"expected {str(expected)[:150]}, got {str(found)[:150]}"
    keys = expected.keys() | found.keys()
    return f"differ: {sorted(key for key in keys if expected.get(key) != found.get(key))[:8]}"


_TRIALS = {name: command.trials for name, command in COMMANDS.items()}
KIND = Kind("kills", _TRIALS, trial, prepare=prepare, sample=len(_TRIALS))

"""Passwords and keys in addresses: they are used, and no file, message or log holds them afterwards."""

import contextlib
import io
import os
import random
import string
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chat_server import chat_server
from harness import Kind, Outcome, Verdict
from loopback import loopback
from own_formats import make_dataset

from lightning_vista.cli import main
from lightning_vista.vista.shards import build_shards


@dataclass(frozen=True)
class State:
    """Shards."""

    shards: Path


def prepare(folder: Path) -> State:
    """Make the shards."""
    make_dataset(folder)
    build_shards(folder / "tasks", folder / "videos", folder / "shards", max_shard_mb=0.02)
    return State(folder / "shards")


def _secret(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits, k=16))


def _planted(url: str, secret: str, rng: random.Random, with_query: bool = True) -> str:
    """Return the address with the secret in one of the places where addresses have secrets."""
    names = ("api_key", "token", "sig", "X-Amz-Signature", "key", "subscription-key", "k")
    user = f"{rng.choice(['me:', ''])}{secret}@"
    if with_query and rng.random() < 0.5:
        return f"{url}?{rng.choice(['', 'api-version=1&'])}{rng.choice(names)}={secret}"
    return url.replace("//", f"//{user}", 1)


def _run(arguments: list[str], cwd: Path) -> str:
    """Run a command in this process, and return all that it printed."""
    shown = io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            main(arguments)
        except SystemExit as error:
            shown.write(str(error))
        except BaseException as error:
            shown.write("".join(traceback.format_exception(error)))
            raise
    return shown.getvalue()


def _chat(state: State, url: str, folder: Path, *more: str) -> list[str]:
    os.environ.setdefault("OPENAI_API_KEY", "sk-other")
    data = ["--data=ViSTaDataModule", f"--data.shards={state.shards}", "--data.num_workers=0"]
    model = ["--model=ChatScorer", "--model.model=tiny", f"--model.base_url={url}", "--model.num_frames=2"]
    quick = ["--model.size=16", "--model.limits.attempts=1", "--model.mode=single"]
    trainer = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    return ["test", *model, *quick, *data, *trainer, f"--evaluation.run_dir={folder / 'run'}", *more]


def chat_run(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """A run of a chat scorer: config.yaml, replies.sqlite, transcripts, tables."""
    with chat_server() as server:
        url = _planted(server.url, secret, rng, with_query=False)
        return _run(_chat(state, url, folder, "--trainer.logger=false"), folder)


def chat_failure(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """A chat scorer whose endpoint answers with an error, or not at all."""
    with chat_server() as server:
        server.fault = lambda body, earlier: "500"
        server.complain = lambda body: f"overloaded: {url}"
        url = _planted(rng.choice([server.url, "http://127.0.0.1:9/v1"]), secret, rng)
        return _run(_chat(state, url, folder, "--trainer.logger=false"), folder)


def csv_logger(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """Hyper-parameters in the files of Lightning's loggers."""
    with chat_server() as server:
        url = _planted(server.url, secret, rng, with_query=False)
        logger = rng.choice(["CSVLogger", "TensorBoardLogger"])
        more = [f"--trainer.logger={logger}", f"--trainer.logger.save_dir={folder}"]
        return _run(_chat(state, url, folder, *more), folder)


def wandb_logger(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """Wandb's files, with the command line in them."""
    with chat_server() as server:
        url = _planted(server.url, secret, rng, with_query=False)
        more = ["--trainer.logger=WandbLogger", f"--trainer.logger.save_dir={folder}", "--trainer.logger.offline=true"]
        before, sys.argv = sys.argv, ["lightning-vista", *_chat(state, url, folder, *more)]
        try:
            return _run(_chat(state, url, folder, *more), folder)
        finally:
            sys.argv = before


def remote_run(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """A run on remote shards: config.yaml, the cache, the tables."""
    with loopback() as remote:
        remote.files = {path.name: path.read_bytes() for path in state.shards.iterdir()}
        url = _planted(remote.url, secret, rng)
        data = ["--data=ViSTaDataModule", f"--data.shards={url}", "--data.num_workers=0"]
        data += [f"--data.cache_dir={folder / 'cache'}", "--trainer.accelerator=cpu", "--trainer.logger=false"]
        return _run(["test", "--model=RandomScorer", *data, f"--evaluation.run_dir={folder / 'run'}"], folder)


def remote_failure(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """Remote shards that are missing, or whose server fails."""
    with loopback() as remote:
        remote.always = rng.choice(["404", "403", "400"])
        url = _planted(remote.url, secret, rng)
        return _run(["shards", "verify", url, "--attempts=1"], folder)


def verified(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """The output of `shards verify`, for whole and for damaged shards."""
    with loopback() as remote:
        remote.files = {path.name: path.read_bytes() for path in state.shards.iterdir()}
        if rng.random() < 0.5:
            remote.files["000000.tar"] = bytes(len(remote.files["000000.tar"]))
        return _run(["shards", "verify", _planted(remote.url, secret, rng)], folder)


def wrong_option(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """The error of the parser, which quotes what it was given."""
    url = _planted("https://host/v1", secret, rng)
    return _run(_chat(state, url, folder, "--model.detial=low"), folder)


def shown_traceback(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """The traceback of a process, which quotes messages."""
    url = _planted("http://127.0.0.1:9/shards", secret, rng)
    command = [sys.executable, "-m", "lightning_vista", "shards", "verify", url, "--attempts=1", "--traceback"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600)
    return done.stdout + done.stderr


def study(state: State, secret: str, rng: random.Random, folder: Path) -> str:
    """A study, whose runs' settings would be kept in run.yaml: it is refused."""
    url = _planted("https://host/v1", secret, rng)
    (folder / "base.yaml").write_text("model:\n  class_path: ChatScorer\n  init_args: {model: tiny}\n")
    text = "runs: [{name: a, configs: [base.yaml]}]\ncommands: {test: {}}\nmetrics: {a: b}\n"
    text += f"overrides: {{model.init_args.base_url: '{url}'}}\n"
    source = folder.parent / f"{folder.name}.yaml"  # the user's own file
    source.write_text(text.replace("base.yaml", str(folder / "base.yaml")))
    try:
        return _run(["study", str(source), "--out", str(folder / "out")], folder)
    finally:
        source.unlink()


PLACES: dict[str, Callable[[State, str, random.Random, Path], str]] = {
    "files of a chat scorer's run": chat_run,
    "errors of an endpoint": chat_failure,
    "files of Lightning's loggers": csv_logger,
    "files of wandb": wandb_logger,
    "files of a run on remote shards": remote_run,
    "errors of a remote server": remote_failure,
    "output of shards verify": verified,
    "errors of options": wrong_option,
    "tracebacks": shown_traceback,
    "files of a study": study,
}


def trial(state: State, subject: str, rng: random.Random, folder: Path) -> Verdict:
    """Plant a secret, run a command, and look for it in everything that was written and printed."""
    secret = _secret(rng)
    shown = PLACES[subject](state, secret, rng, folder)
    if secret in shown:
        return Verdict(Outcome.WRONG, f"printed: {shown[max(0, shown.index(secret) - 150) :][:200]}")
    for path in folder.rglob("*"):
        if path.is_file() and secret.encode() in path.read_bytes():
            return Verdict(Outcome.WRONG, f"written to {path.relative_to(folder)}")
    return Verdict(Outcome.SAME)


KIND = Kind("secrets", dict.fromkeys(PLACES, 2), trial, prepare, sample=10)

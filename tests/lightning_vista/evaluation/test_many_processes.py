"""Evaluations in several processes and on several nodes give the table of one process."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.tables import read_scores

TEST = ["test", "--model=RandomScorer", "--data=ViSTaDataModule", "--data.num_workers=0", "--data.batch_size=2"]
TEST += ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def evaluate(shards: Path, run_dir: Path, processes: int) -> subprocess.CompletedProcess[str]:
    """Run `test` with processes that Lightning starts."""
    strategy = (
        ["--trainer.strategy=ddp", f"--trainer.devices={processes}"] if processes > 1 else ["--trainer.devices=1"]
    )
    command = [sys.executable, "-m", "lightning_vista", *TEST, *strategy]
    command += [f"--data.shards={shards}", f"--evaluation.run_dir={run_dir}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500, env=ENVIRONMENT, cwd=run_dir.parent)


def table(run_dir: Path) -> bytes:
    return (run_dir / "scores.parquet").read_bytes()


@pytest.fixture
def few(dataset: Path, tmp_path: Path) -> Path:
    """Shards with 2 videos."""
    copy = tmp_path / "few"
    shutil.copytree(dataset, copy)
    for video in sorted((copy / "videos").rglob("*.mp4"))[2:]:
        video.unlink()
    build_shards(copy / "tasks", copy / "videos", tmp_path / "few-shards", missing="skip")
    return tmp_path / "few-shards"


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_table(shards: Path, tmp_path: Path) -> None:
    for processes in (1, 2, 3):
        done = evaluate(shards, tmp_path / str(processes), processes)
        assert done.returncode == 0, done.stderr
    assert table(tmp_path / "1") == table(tmp_path / "2") == table(tmp_path / "3")
    assert read_scores(tmp_path / "1").rows["video"].n_unique() == 13


@pytest.mark.slow
def test_more_processes_than_videos_and_a_finished_run_again(few: Path, tmp_path: Path) -> None:
    for processes in (1, 4):
        done = evaluate(few, tmp_path / str(processes), processes)
        assert done.returncode == 0, done.stderr
    assert table(tmp_path / "1") == table(tmp_path / "4")
    for processes in (3, 1):  # nothing is left to score
        done = evaluate(few, tmp_path / "4", processes)
        assert done.returncode == 0, done.stderr
        assert table(tmp_path / "1") == table(tmp_path / "4")


@pytest.mark.slow
def test_two_nodes_of_torchrun_give_the_same_table(shards: Path, tmp_path: Path) -> None:
    """Two nodes of two processes each, on this machine."""
    done = evaluate(shards, tmp_path / "one", 1)
    assert done.returncode == 0, done.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"]
    torchrun += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    job = ["-m", "lightning_vista", *TEST, "--trainer.strategy=ddp", "--trainer.num_nodes=2", "--trainer.devices=2"]
    job += [f"--data.shards={shards}", f"--evaluation.run_dir={tmp_path / 'two'}"]
    nodes = [
        subprocess.Popen(
            [*torchrun, f"--node-rank={rank}", *job],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
            cwd=tmp_path,
        )
        for rank in (0, 1)
    ]
    said = [node.communicate(timeout=1500)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert table(tmp_path / "one") == table(tmp_path / "two")


@pytest.mark.slow
def test_parts_that_any_scheduler_runs_are_merged(dataset: Path, shards: Path, tmp_path: Path) -> None:
    """Three processes at once, as tasks of a job array are."""
    build = [
        sys.executable,
        "-m",
        "lightning_vista",
        "shards",
        "build",
        str(dataset / "tasks"),
        str(dataset / "videos"),
    ]
    options = ["--max-shard-mb", "0.008", "--workers", "1"]
    tasks = [
        subprocess.Popen([*build, str(tmp_path / f"part-{i}"), *options, "--part", f"{i}/3"], env=ENVIRONMENT)
        for i in (1, 2, 3)
    ]
    assert [task.wait(600) for task in tasks] == [0, 0, 0]
    parts = [str(tmp_path / f"part-{i}") for i in (1, 2, 3)]
    merge = [sys.executable, "-m", "lightning_vista", "shards", "merge", *parts, str(tmp_path / "merged")]
    subprocess.run(merge, check=True, timeout=600, env=ENVIRONMENT)
    merged = {path.name: path.read_bytes() for path in (tmp_path / "merged").iterdir()}
    assert merged == {path.name: path.read_bytes() for path in shards.iterdir() if path.name != ".build.lock"}

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from stopped_commands import run_command
from watching_processes import start_watching

from lightning_vista.cli import main
from lightning_vista.processes.parallel import process_map
from lightning_vista.processes.stopping import StopSignal, end_quietly, stop_signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_in_one_line(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)

    def run(arguments: list[str]) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr("lightning_vista.cli._run", run)
    with pytest.raises(SystemExit) as caught:
        main(["shards", "build"])
    assert caught.value.code == code
    name = {130: "Ctrl-C", 143: "SIGTERM"}[code]
    assert capsys.readouterr().err == f"\nlightning-vista: Stopped by {name}. The same command resumes.\n"
    assert signal.getsignal(number) == before
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(timer.finished.is_set() for timer in timers), "a timer would end this process, which lives longer"


def test_only_the_first_of_several_processes_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit, match="143"):
        end_quietly(StopSignal(signal.SIGTERM), ["test"])
    assert capsys.readouterr().err == ""


def test_a_command_whose_reader_has_gone_ends_quietly(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lightning_vista", "configs"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=300, cwd=tmp_path)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_another_broken_pipe_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: list[str]) -> None:
        raise BrokenPipeError("the server has gone")

    monkeypatch.setattr("lightning_vista.cli._run", run)
    with pytest.raises(SystemExit, match="the server has gone"):
        main(["test"])


def test_threads_get_no_signals() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def look() -> None:
        with stop_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


def double(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number > 100:
        time.sleep(600)
    return 2 * number


def test_a_killed_worker_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ChildProcessError, match=r"killed, perhaps for lack of memory\. Run the same command again"):
        list(process_map(double, [1, 2, -1, 3], 2))


def test_workers_end_with_the_iteration() -> None:
    start = time.monotonic()
    results = process_map(double, [1, 2, 101, 102, 103], 2)
    assert next(results) == 2
    results.close()  # type: ignore[attr-defined] # it is a generator
    assert time.monotonic() - start < 300  # or it would wait for ten minutes


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_of_mini_survives(stop: signal.Signals, tmp_path: Path) -> None:
    ended = run_command(["mini", "out"], tmp_path, stop, delay=4)
    assert not ended.orphans
    assert ended.exit_code == (-9 if stop == signal.SIGKILL else 128 + stop)
    assert "Traceback" not in ended.errors


def test_a_process_that_a_server_forked_ends_with_the_one_that_asked_for_it() -> None:
    """The server itself stays, as long as any process that it forked."""
    ours, theirs = multiprocessing.Pipe()
    parent = multiprocessing.get_context("forkserver").Process(target=start_watching, args=(theirs,))
    parent.start()
    theirs.close()
    ours.recv()
    parent.kill()
    assert ours.poll(30)
    with pytest.raises(EOFError):  # its end of the pipe closes with it
        ours.recv()


@pytest.mark.slow
def test_a_run_that_cannot_begin_leaves_no_process(shards: Path, tmp_path: Path) -> None:
    """The port at which its processes meet is taken: the first one fails, and the other one would wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1])}
        trainer = ["--trainer.logger=false", "--trainer.accelerator=cpu", "--trainer.devices=2"]
        data = ["--data=ViSTaDataModule", f"--data.shards={shards}", f"--evaluation.run_dir={tmp_path / 'run'}"]
        command = [sys.executable, "-m", "lightning_vista", "test", "--model=RandomScorer", *data, *trainer]
        # Returns when no process has the other end of its output any more.
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=600, cwd=tmp_path, env={**os.environ, **place}
        )
    assert ended.returncode == 1
    assert "lightning-vista: DistNetworkError" in ended.stderr

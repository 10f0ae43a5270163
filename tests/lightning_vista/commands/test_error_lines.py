import importlib.util
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_vista.cli import main
from lightning_vista.commands.error_lines import describe_error
from lightning_vista.commands.lightning_files import NamingCheckpointIO
from lightning_vista.files.checkpoints import check_checkpoint
from lightning_vista.files.own_files import DamagedFileError

PLUGIN = """
import lightning as L
import torch
from lightning_vista.scorers import VLMScorer



class Broken(VLMScorer):
    def score(self, batch):
        return torch.zeros(2) @ torch.zeros(3)

class BrokenCallback(L.Callback):
    def on_test_batch_end(self, *args):
        return {}["absent"]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of a user."""
    path = tmp_path / "my_judges.py"
    path.write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("my_judges")
    yield module
    del sys.modules["my_judges"]


def run_test(shards: Path, folder: Path, *options: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(
            ["test", "--data=ViSTaDataModule", f"--data.shards={shards}", "--data.num_workers=0",
             "--trainer.accelerator=cpu", "--trainer.logger=false", f"--evaluation.run_dir={folder}", *options]
        )  # fmt: skip
    return str(caught.value.code)


def test_a_scorer_that_raises_is_named(plugin: ModuleType, shards: Path, tmp_path: Path) -> None:
    message = run_test(shards, tmp_path / "run", "--model=my_judges.Broken")
    assert message.startswith("lightning-vista: RuntimeError: ")
    assert "It comes from Broken.score in " in message
    assert f"{tmp_path / 'my_judges.py'}, line 10" in message
    assert "--traceback shows more" in message
    assert "\n" not in message


def test_a_callback_that_raises_is_named(plugin: ModuleType, shards: Path, tmp_path: Path) -> None:
    callback = "--trainer.callbacks+=my_judges.BrokenCallback"
    message = run_test(shards, tmp_path / "run", "--model=RandomScorer", callback)
    assert message.startswith("lightning-vista: KeyError: 'absent'. It comes from BrokenCallback.on_test_batch_end in ")


class BrokenRows(Dataset[Any]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> Any:
        raise ValueError("row 3:\nis broken")


def test_the_message_of_a_worker_comes_without_its_traceback() -> None:
    with pytest.raises(ValueError, match="row 3") as caught:
        list(DataLoader(BrokenRows(), num_workers=1))
    message = describe_error(caught.value)
    assert message.startswith(f"ValueError: row 3:\nis broken. It comes from __getitem__ in {__file__}, line ")


def test_a_library_called_by_us_is_not_blamed_on_a_plugin() -> None:
    from lightning_vista.video.encoding import decode_jpeg

    with pytest.raises(TypeError) as caught:
        decode_jpeg(3)  # type: ignore[arg-type]
    place = describe_error(caught.value)
    assert Path(__file__).name not in place or "encoding.py" in place


def test_a_killed_worker_says_so() -> None:
    message = describe_error(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nmore"))
    assert message.startswith("A worker process of the data loader was killed, perhaps for lack of memory")
    assert "Run the same command again to resume" in message


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "password", "packed"])
def test_a_damaged_checkpoint_is_named(damage: str, shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": torch.arange(1000.0)}}, path)
    check_checkpoint(path)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")  # flags and compression of the first part
    place, bit = {"password": (entry + 8, 1), "packed": (entry + 10, 8)}.get(damage, (len(content) // 2, 1))
    content[place] ^= bit
    path.write_bytes({"empty": b"", "cut": bytes(content[:-900])}.get(damage, bytes(content)))
    with pytest.raises(DamagedFileError, match=r"The checkpoint .*last\.ckpt is "):
        check_checkpoint(path)
    message = run_test(shards, tmp_path / "run", "--model=RandomScorer", f"--ckpt_path={path}")
    assert message.startswith(f"lightning-vista: The checkpoint {path} is ")


@pytest.mark.parametrize("content", [b"hello\n", bytes(100), b"\x80\x02\x8a\n"])
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_file_that_is_not_a_zip_archive_is_not_a_checkpoint(command: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.ckpt"
    path.write_bytes(content)
    for options in (["--ckpt_path", str(path)], [f"--ckpt_path={path}"]):
        with pytest.raises(SystemExit, match=f"The checkpoint {path} is damaged or of another format: expected a zip"):
            main([command, "--model=RandomScorer", "--data=ViSTaDataModule", *options])


@pytest.mark.timeout(120)
def test_a_pipe_is_not_a_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ckpt")
    with pytest.raises(DamagedFileError, match=r"pipe\.ckpt is not a regular file"):
        check_checkpoint(tmp_path / "pipe.ckpt")


class Running:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_other_zip_archives_are_named_and_nothing_in_them_runs(tmp_path: Path) -> None:
    path, mark = tmp_path / "other.ckpt", tmp_path / "mark"
    contents = {
        r"only weights and plain values are read, got posix\.mkdir": {"state_dict": {}, "x": Running(mark)},
        r"expected one of Lightning, with state_dict and .*, got list": [1],
        r"expected one of Lightning, .*, got weight\.": {"weight": torch.zeros(1)},
    }
    for message, content in contents.items():
        torch.save(content, path)
        with pytest.raises(DamagedFileError, match=f"{path}.*{message}"):
            NamingCheckpointIO().load_checkpoint(path)
        assert not mark.exists()
    for pickled in (b"hello", b"\x80\x02e.", b""):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/version", "3")
        with pytest.raises(DamagedFileError, match=f"{path} cannot be read: ") as caught:
            NamingCheckpointIO().load_checkpoint(path)
        assert "weights_only" not in str(caught.value)


def test_a_checkpoint_of_a_server_is_refused_without_its_secret(shards: Path, tmp_path: Path) -> None:
    data = ["--data=ViSTaDataModule", f"--data.shards={shards}", f"--evaluation.run_dir={tmp_path}"]
    with pytest.raises(SystemExit, match=r"expected a file, got the address http://h/a\.ckpt\?sig=\*\*\*\.") as refused:
        main(["test", "--model=RandomScorer", *data, "--ckpt_path=http://h/a.ckpt?sig=hunter2"])
    assert "hunter2" not in str(refused.value)


def test_a_command_names_a_checkpoint_with_objects_and_runs_nothing_in_it(shards: Path, tmp_path: Path) -> None:
    path, mark = tmp_path / "theirs.ckpt", tmp_path / "mark"
    torch.save({"state_dict": {}, "x": Running(mark)}, path)
    with pytest.raises(SystemExit) as refused:
        main(
            ["test", "--model=RandomScorer", "--data=ViSTaDataModule", f"--data.shards={shards}", f"--ckpt_path={path}"]
        )
    assert str(refused.value).startswith(
        f"lightning-vista: The checkpoint {path} cannot be read: only weights and plain"
    )
    assert "\n" not in str(refused.value)
    assert not mark.exists()

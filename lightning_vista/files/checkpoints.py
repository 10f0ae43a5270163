"""Checkpoints: those of torch are checked before they are read, and code that comes with one is never run."""

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_vista.files.own_files import DamagedFileError

_ZIP_BEGINNING = b"PK\x03\x04"


def load_without_code(loader: Callable[..., Any], checkpoint: str, **options: Any) -> Any:
    """Load a configuration, tokenizer, processor or model without running code that comes with it.

    Transformers would ask on the terminal whether to run it.

    Args:
        loader: A `from_pretrained` method of transformers.
        checkpoint: Hub id or local folder.
        **options: Further arguments of the loader.

    Returns:
        The loaded object.

    Raises:
        ValueError: If the checkpoint cannot be loaded without its own code.
        OSError: If it cannot be found or read.
    """
    try:
        return loader(checkpoint, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{checkpoint}: expected a checkpoint of a model that transformers knows, got one that needs code of its "
            "own, which is never run. Convert it to a class of transformers, or write a class of your own for it."
        ) from None


def check_checkpoint(path: Path) -> None:
    """Check a checkpoint of torch, a zip archive, against the checksums of its parts.

    Folders of sharded checkpoints are left to Lightning.

    Args:
        path: The file, which need not exist.

    Raises:
        DamagedFileError: If the file is damaged, cut short or something else; names it.
    """
    if path.is_dir() or not path.exists():
        return
    remedy = "Give another one, such as an earlier checkpoint of the run."
    if not path.is_file():  # reading a pipe would wait forever
        raise DamagedFileError(f"The checkpoint {path} is not a regular file. {remedy}")
    with path.open("rb") as file:
        beginning = file.read(len(_ZIP_BEGINNING))
    if not beginning:
        raise DamagedFileError(f"The checkpoint {path} is empty. {remedy}")
    if beginning != _ZIP_BEGINNING:  # torch would read anything else as a pickle
        raise DamagedFileError(
            f"The checkpoint {path} is damaged or of another format: expected a zip archive, as torch 1.6 and later "
            f"versions write, got a file that begins with {beginning!r}. {remedy}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # any: damaged fields ask for passwords, other compressions or places far outside
        raise DamagedFileError(f"The checkpoint {path} is damaged or cut short ({error}). {remedy}") from error
    if damaged is not None:
        raise DamagedFileError(f"The checkpoint {path} is damaged: its part {damaged} has changed. {remedy}")


@contextmanager
def naming_checkpoint(path: Any) -> Iterator[None]:
    """Name a checkpoint in errors of reading it.

    Args:
        path: The file.

    Raises:
        DamagedFileError: If reading fails, other than by the system.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # any, since a pickle decides what is called
        raise DamagedFileError(f"The checkpoint {path} cannot be read: {_reading_fault(error)}") from error


def _reading_fault(error: Exception) -> str:
    """Say in one line why a checkpoint cannot be read, without torch's advice to unpickle it."""
    said = str(error)
    if held := re.search(r"GLOBAL ([\w.]+)", said):
        return (
            f"only weights and plain values are read, got {held[1]}. Give another one; or, if nobody else has written "
            "it, use `trainer.fit(..., weights_only=False)` in Python, which runs what the file says."
        )
    # The first line of an UnpicklingError is advice.
    said = "" if isinstance(error, pickle.UnpicklingError) else said.partition("\n")[0]
    return f"{type(error).__name__}: {said}".removesuffix(": ")

"""The version of the code that computed something."""

import hashlib
from functools import cache
from pathlib import Path

import lightning_vista


@cache
def code_version() -> str:
    """Return the package's version with a digest of its source files, however it was installed."""
    root = Path(lightning_vista.__file__).parent
    folders = (root, root / "callbacks", root / "datamodules")  # the last two may be links, which rglob skips
    sources = sorted({file.read_bytes() for folder in folders for file in folder.rglob("*.py")})
    return f"{lightning_vista.__version__}+{hashlib.sha256(b''.join(sources)).hexdigest()[:12]}"

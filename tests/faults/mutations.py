"""Damage to our own files: bytes flipped, cut, inserted, overwritten or moved; the outcome is never another value."""

import contextlib
import json
import random
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import Kind, Outcome, Verdict
from own_formats import FORMATS, prepare_shared


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


def prepare(folder: Path) -> dict[str, tuple[Path, Any]]:
    """Make whole files of every format, and their values."""
    prepare_shared(folder)
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
    shutil.copytree(whole, work)  # with the times of files, by which some are found
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


KIND = Kind("mutations", {name: format.trials for name, format in FORMATS.items()}, trial, prepare=prepare, sample=720)

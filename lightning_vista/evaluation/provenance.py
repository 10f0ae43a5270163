"""The circumstances of a run, `run.json`: scorer, frames, data, machine, time and cost."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning_vista.code_version import code_version
from lightning_vista.evaluation.identity import arguments, class_path
from lightning_vista.evaluation.protocols import Scorer
from lightning_vista.files.own_files import DamagedFileError, from_sealed_json, write_sealed_json
from lightning_vista.vista.index import ShardIndex

PROVENANCE_NAME = "run.json"
_VERSION = 1
_REMEDY = "Remove the file; the report then leaves the circumstances out."


@dataclass(frozen=True)
class Provenance:
    """The circumstances of a run. Files are named without their folders, so that the file can be published.

    Attributes:
        model: Name of the scorer.
        class_path: Import path of its class.
        arguments: Arguments of its constructor, as text.
        frames: Fields of its `FrameSpec`.
        controls: Orders of frames that were scored as well.
        precision: Precision of the arithmetic, in Lightning's words.
        device: Device of the scorer.
        dataset: Environments, numbers of problem sets and videos, `plan`, the hash of the shards' build, and the data's
            `split` where the shards record it.
        facts: What the scorer says of itself, such as `licence`, `weights` and `cost`.
        videos: Number of videos that the last session scored.
        seconds: Duration of that session.
        finished: Time of its end, in UTC.
        code_version: Version of the package.
        machine: Operating system, architecture and number of CPU cores.
    """

    model: str
    class_path: str
    arguments: Mapping[str, str]
    frames: Mapping[str, Any]
    controls: tuple[str, ...]
    precision: str
    device: str
    dataset: Mapping[str, Any]
    facts: Mapping[str, str] = field(default_factory=dict)
    videos: int = 0
    seconds: float = 0.0
    finished: str = ""
    code_version: str = ""
    machine: str = ""


def describe_run(
    scorer: Scorer, index: ShardIndex, controls: tuple[str, ...], precision: str, videos: int, seconds: float
) -> Provenance:
    """Describe the run that has just ended.

    Args:
        scorer: The scorer.
        index: The shards with the selected problem sets.
        controls: Controls of frame order that were scored as well.
        precision: The trainer's precision.
        videos: Number of videos that this session scored.
        seconds: Duration of this session.

    Returns:
        The circumstances, for `write_provenance`.
    """
    facts = getattr(scorer, "facts", dict)
    return Provenance(
        model=scorer.name,
        class_path=class_path(scorer),
        arguments={key: public_argument(value) for key, value in arguments(scorer).items() if value is not None},
        frames=json.loads(json.dumps(asdict(scorer.frame_spec), default=str)),
        controls=controls,
        precision=precision,
        device=str(scorer.device),
        dataset={
            "environments": sorted({item.environment for item in index.problem_sets}),
            "problem_sets": len(index.problem_sets),
            "videos": len(index.samples),
            "plan": index.plan,
            **({"split": index.split} if index.split else {}),
        },
        facts={key: str(value) for key, value in facts().items()},
        videos=videos,
        seconds=round(seconds, 1),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=code_version(),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    )


def write_provenance(provenance: Provenance, folder: str | Path) -> Path:
    """Write `run.json` into a run folder; it appears whole or not at all.

    Args:
        provenance: The circumstances of the run.
        folder: Run folder.

    Returns:
        Path of the file.
    """
    path = Path(folder, PROVENANCE_NAME)
    write_sealed_json(path, asdict(provenance), _VERSION)
    return path


def read_provenance(folder: str | Path) -> Provenance | None:
    """Read and check the `run.json` of a run folder.

    Args:
        folder: Run folder.

    Returns:
        The circumstances; None if the run has no such file, as those of earlier versions.

    Raises:
        DamagedFileError: If the file is damaged, or of another version; names it and the remedy.
    """
    path = Path(folder, PROVENANCE_NAME)
    if not path.is_file():
        return None
    document = from_sealed_json(path.read_bytes(), path, version=_VERSION, remedy=_REMEDY)
    document.pop("version")
    try:
        return Provenance(**{**document, "controls": tuple(document["controls"])})
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"{path}: expected the circumstances of a run, got {error!r}. {_REMEDY}") from error


def public_argument(value: object) -> str:
    """Return an argument as text that can be published.

    Args:
        value: The value.

    Returns:
        The text; of an absolute path only the last part, and for a file the beginning of its SHA-256, since files of
        several runs have the same name.

    Example:
        >>> public_argument(16), public_argument("/home/me/model")
        ('16', 'model')
    """
    text = str(value)
    path = Path(text)
    if not path.is_absolute() and not text.startswith("~"):
        return text
    if not path.expanduser().is_file():
        return path.name
    with path.expanduser().open("rb") as file:  # files of several runs have one name
        return f"{path.name} ({hashlib.file_digest(file, 'sha256').hexdigest()[:12]})"

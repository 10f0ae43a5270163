"""`mini.json`, by which a folder of the embedded dataset is known; reading it needs nothing of the dataset."""

import re
from pathlib import Path
from typing import Any

from lightning_vista.files.own_files import VERSION_KEY, from_sealed_json

STATE_FILE = "mini.json"
#: Version of that file; 1 does not name itself and lacks a checksum.
STATE_VERSION = 2
_BEGINNING = re.compile(rb'{\s*("version":\s*\d+,\s*)?"settings"')


def read_state(root: Path) -> dict[str, Any]:
    """Read and check the state of a folder of the embedded dataset; one of an earlier release has no checksum.

    Args:
        root: The folder, which holds `mini.json`.

    Returns:
        The entries `settings` and, where the folder is complete, `totals`.

    Raises:
        DamagedFileError: If the file is damaged.
    """
    path = root / STATE_FILE
    content = path.read_bytes()
    if re.match(rb'{\s*"settings"', content):  # of an earlier release
        content = b'{"version": 1, ' + content.removeprefix(b"{")
    remedy = "Remove the folder, and render it again with `lightning-vista mini`."
    state = from_sealed_json(content, path, version=STATE_VERSION, sealed_since=2, remedy=remedy)
    return {key: value for key, value in state.items() if key != VERSION_KEY}


def recorded_split(tasks_dir: str | Path) -> str | None:
    """Return the split of a folder of problem sets, where the embedded dataset has recorded it.

    Args:
        tasks_dir: Folder of problem sets. That of the embedded dataset is `<split>/tasks`, below its `mini.json`.

    Returns:
        The split; None for any other folder, whatever its name.

    Raises:
        DamagedFileError: If the `mini.json` is damaged.
    """
    tasks = Path(tasks_dir).resolve()
    path = tasks.parent.parent / STATE_FILE
    if tasks.name != "tasks" or not path.is_file() or not _BEGINNING.match(path.read_bytes()):
        return None
    splits = read_state(path.parent).get("settings", {}).get("splits", [])
    return tasks.parent.name if tasks.parent.name in splits else None

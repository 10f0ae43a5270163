"""Whole shards of remote folders in a local folder of bounded size, shared by any number of processes.

fsspec's own caches have no bound and write under the final name, so that a kill leaves half a file.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

from filelock import FileLock, Timeout

#: What file systems call the things that change with a file's content, in lower case and without punctuation.
_VERSION_FIELDS = frozenset(
    ("blobid", "contentmd5", "created", "digest", "etag", "generation", "lastmodified", "md5hash", "modified", "mtime")
)


class _Entry(NamedTuple):
    """Where a shard lies in the cache, which depends on its version, and its size."""

    path: Path
    size: int


class ShardCache:
    """A folder of fetched shards; processes, ranks and runs that name the same folder share it.

    - A shard is fetched by one process while the others wait for it, and appears in one step: never half a file.
    - Fetched and arriving shards together never exceed `max_bytes`; the ones least recently opened make room. A file
      that is open somewhere stays readable after it was removed (POSIX), and its space is free once it is closed.
    - A shard is found by its address, size and version (ETag, time of change, ...), which one object looks up when it
      first reads the shard, and again when it has to be fetched anew.
    - Whatever a killed process left is removed by the next fetch.

    Args:
        url: The address of the remote folder.
        folder: The local folder, not on a network drive; it is made where needed.
        max_bytes: The bound.
    """

    def __init__(self, url: str, folder: str | Path, max_bytes: int) -> None:
        self.url = url
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self._entries: dict[str, _Entry | None] = {}

    def open(self, remote: Any, path: str) -> IO[bytes] | None:  # fsspec has no types
        """Open a shard, fetching it first where needed.

        Args:
            remote: The fsspec file system.
            path: The shard's path in it.

        Returns:
            The local file; None where there cannot be one, since the shard is larger than the bound or its file
            system does not tell versions apart.

        Raises:
            OSError: If the shard cannot be fetched, or changes meanwhile.
        """
        if path not in self._entries:
            self._entries[path] = self._entry(remote, path)
        entry = self._entries[path]
        if entry is None:
            return None
        file = _open(entry.path)
        if file is None:
            entry = self._entries[path] = self._entry(remote, path)
            file = None if entry is None else self._fetch(remote, path, entry)
        return file

    def _entry(self, remote: Any, path: str) -> _Entry | None:
        """The entry of a shard's present version."""
        remote.invalidate_cache(path)  # a listing that the file system remembers may be old
        info = remote.info(path)
        fields = {name.lower().replace("-", "").replace("_", ""): str(value) for name, value in info.items()}
        version = sorted((name, fields[name]) for name in _VERSION_FIELDS & fields.keys() if fields[name] != "None")
        if not version or info.get("size") is None or info["size"] > self.max_bytes:
            return None
        identity = f"{self.url}\n{path}\n{info['size']}\n{version}"
        return _Entry(self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.tar", info["size"])

    def _fetch(self, remote: Any, path: str, entry: _Entry) -> IO[bytes]:
        """Fetch a shard, unless another process did so while this one waited for its turn."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock(entry.path):
            file = _open(entry.path)
            if file is not None:
                return file
            part = entry.path.with_suffix(f".{entry.size}.part")
            while not self._reserve(part, entry.size):
                time.sleep(0.05)  # the others' shards are arriving; then these can make room
            try:
                remote.get_file(path, str(part))
                if part.stat().st_size != entry.size or self._entry(remote, path) != entry:
                    raise OSError(f"{path} changed while it was fetched: run again when it is complete.")
                # Opened before any other process can see it, and so remove it.
                file = part.open("rb")
                os.fsync(file.fileno())
                with self._lock():
                    part.replace(entry.path)
            finally:
                part.unlink(missing_ok=True)
            return file

    def _reserve(self, part: Path, size: int) -> bool:
        """Make room for a shard and claim it by an empty file; False while too much is claimed by others."""
        with self._lock():
            self._remove_leftovers(part)
            # The claim is in the name, since the file only grows to its size.
            claimed = sum(int(other.suffixes[-2][1:]) for other in self.folder.glob("*.part"))
            if claimed + size > self.max_bytes:
                return False
            shards = [(status.st_mtime_ns, status.st_size, shard) for shard, status in self._shards()]
            excess = claimed + size + sum(bytes for _, bytes, _ in shards) - self.max_bytes
            for _, bytes, shard in sorted(shards):
                if excess <= 0:
                    break
                shard.unlink()
                excess -= bytes
            part.touch()
            return True

    def _shards(self) -> list[tuple[Path, os.stat_result]]:
        return [(shard, shard.stat()) for shard in self.folder.glob("*.tar")]

    def _remove_leftovers(self, own: Path) -> None:
        """Remove what arrives no more: files whose lock is free, and others of the lock that this process holds."""
        for part in self.folder.glob("*.part"):
            if _lock_name(part) == _lock_name(own):
                part.unlink()
                continue
            try:
                with self._lock(part, blocking=False):
                    part.unlink(missing_ok=True)
            except Timeout:
                continue  # it is arriving

    def _lock(self, shard: Path | None = None, blocking: bool = True) -> FileLock:
        """The lock for fetching a shard; the one for all changes of the folder where none is given."""
        return FileLock(self.folder / ("all.lock" if shard is None else _lock_name(shard)), blocking=blocking)


def _lock_name(shard: Path) -> str:
    """One of 256 names: lock files cannot be removed safely, so their number is bounded instead."""
    return f"{shard.name[:2]}.lock"


def _open(path: Path) -> IO[bytes] | None:
    """Open a file of the cache and mark it as used; None where it is not there (any more)."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    os.utime(file.fileno(), ns=(time.time_ns(), time.time_ns()))
    return file

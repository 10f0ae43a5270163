"""Shards in a folder or at an address, with a local cache.

fsspec's own caches have no bound and write under the final name, so that a kill leaves half a file.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

import fsspec
from filelock import FileLock, Timeout
from fsspec.implementations.local import LocalFileSystem

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


#: Megabytes (10^6 bytes) of remote shards that are kept on this machine where nothing else is said.
DEFAULT_CACHE_MB = 20_000


class Storage:
    """A folder of shards.

    A local folder is read where it is. The shards of a remote one are fetched whole into a local cache, see
    `ShardCache`; other files, such as the index, are read from the remote each time. A storage may be forked or
    pickled.

    Args:
        url: A local folder, or an address such as `s3://bucket/shards` whose fsspec package is installed.
        cache_dir: Where remote shards are kept; `lightning_vista/shards` in the user's cache folder by default.
        cache_mb: How many megabytes (10^6 bytes) of them at most. Shards larger than this are read from the remote,
            sample by sample; so 0 keeps nothing.

    Raises:
        ValueError: If fsspec does not know the kind of address, or its package is missing; if `cache_mb` is negative.
    """

    def __init__(
        self, url: str | Path, cache_dir: str | Path | None = None, cache_mb: float = DEFAULT_CACHE_MB
    ) -> None:
        if cache_mb < 0:
            raise ValueError(f"cache_mb: expected megabytes, 0 to keep nothing, got {cache_mb}.")
        self.url = str(url)
        self._connection, self._root = self._connect()
        self._process = os.getpid()
        local = isinstance(self._connection, LocalFileSystem)
        folder = cache_dir or _user_cache()
        self._cache = None if local or not cache_mb else ShardCache(self.url, folder, int(cache_mb * 1e6))

    def read_file(self, name: str) -> bytes:
        """All bytes of a file of the folder, as it is now."""
        content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes of a shard from `offset` on; fewer where it ends before."""
        cached = self._open_cached(name)
        if cached is None:
            content: bytes = self._files.cat_file(f"{self._root}/{name}", start=offset, end=offset + length)
            return content
        with cached:
            cached.seek(offset)
            return cached.read(length)

    def open(self, name: str) -> IO[bytes]:
        """A shard, to be read from its beginning."""
        file: IO[bytes] = self._open_cached(name) or self._files.open(f"{self._root}/{name}", "rb")
        return file

    def _open_cached(self, name: str) -> IO[bytes] | None:
        return None if self._cache is None else self._cache.open(self._files, f"{self._root}/{name}")

    @property
    def _files(self) -> Any:  # fsspec has no types
        """The file system; remote ones hold connections and threads that do not survive a fork."""
        if self._process != os.getpid():
            self._connection, _ = self._connect()
            self._process = os.getpid()
        return self._connection

    def _connect(self) -> tuple[Any, str]:
        try:
            files, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise ValueError(f"{self.url}: {error}") from error
        return files, root


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lightning_vista" / "shards"

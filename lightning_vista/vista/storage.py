"""Shards in a folder or at a remote address, with a local cache.

fsspec's own caches are unbounded, and they write under the final name, so a kill leaves half a file.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

import fsspec
from filelock import FileLock, Timeout
from fsspec.implementations.local import LocalFileSystem

from lightning_vista.redaction import without_secrets

#: Names that file systems give to whatever changes with a file's content; in lower case, without punctuation.
_VERSION_FIELDS = frozenset(
    ("blobid", "contentmd5", "created", "digest", "etag", "generation", "lastmodified", "md5hash", "modified", "mtime")
)


class _Entry(NamedTuple):
    """The place of a shard in the cache, which depends on the shard's version, and its size in bytes."""

    path: Path
    size: int


class ShardCache:
    """A local folder of fetched shards, shared by all processes, ranks and runs that name the same folder.

    - One process fetches a shard while the others wait for it. The shard appears in one step, never as half a file.
    - Fetched and arriving shards together never exceed `max_bytes`; the least recently opened ones are removed. A file
      that is open somewhere stays readable after its removal (POSIX); its space is free once it is closed.
    - A shard is identified by its address, size and version (ETag, time of change, ...). Each object looks these up
      when it first reads the shard, and again when the shard has to be fetched anew.
    - The next fetch removes the leftovers of a killed process.

    Args:
        url: Address of the remote folder.
        folder: Local folder, not on a network drive; it is created if needed.
        max_bytes: Size that the shards in the folder may not exceed, in bytes.
    """

    def __init__(self, url: str, folder: str | Path, max_bytes: int) -> None:
        self.url = url
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self._entries: dict[str, _Entry | None] = {}

    def open(self, remote: Any, path: str) -> IO[bytes] | None:  # fsspec has no types
        """Open a shard; fetch it first if needed.

        Args:
            remote: The fsspec file system.
            path: Path of the shard in that file system.

        Returns:
            The local file; None if the shard is larger than `max_bytes`, or its file system does not tell versions
            apart.

        Raises:
            OSError: If the shard cannot be fetched, or changes during the fetch.
        """
        if path not in self._entries:
            self._entries[path] = self._entry(remote, path)
        entry = self._entries[path]
        if entry is None:
            return None
        file = _open(entry.path)
        if file is None:
            # Not fetched yet, or removed by another process to make room. The remote may have changed since this
            # object looked, so the version is looked up again: a fetch under an old name would be served forever.
            entry = self._entries[path] = self._entry(remote, path)
            file = None if entry is None else self._fetch(remote, path, entry)
        return file

    def _entry(self, remote: Any, path: str) -> _Entry | None:
        """Return the entry of a shard's current version; None if the shard cannot be cached."""
        remote.invalidate_cache(path)  # the file system may remember an outdated listing
        info = remote.info(path)
        fields = {name.lower().replace("-", "").replace("_", ""): str(value) for name, value in info.items()}
        version = sorted((name, fields[name]) for name in _VERSION_FIELDS & fields.keys() if fields[name] != "None")
        if not version or info.get("size") is None or info["size"] > self.max_bytes:
            return None
        identity = f"{self.url}\n{path}\n{info['size']}\n{version}"
        return _Entry(self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.tar", info["size"])

    def _fetch(self, remote: Any, path: str, entry: _Entry) -> IO[bytes]:
        """Fetch a shard, unless another process fetched it while this one waited for the lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock(entry.path):
            file = _open(entry.path)
            if file is not None:
                return file
            part = entry.path.with_suffix(f".{entry.size}.part")
            while not self._reserve(part, entry.size):
                # Arriving shards of other processes fill the bound; once they are complete they can be removed.
                time.sleep(0.05)
            try:
                remote.get_file(path, str(part))
                # Size and version are compared after the fetch: a shard replaced meanwhile would mix two versions.
                if part.stat().st_size != entry.size or self._entry(remote, path) != entry:
                    raise OSError(f"{path} changed while it was fetched: run again when it is complete.")
                # Opened before any other process can see the shard and remove it to make room.
                file = part.open("rb")
                os.fsync(file.fileno())  # else a power cut could leave the final name without the content
                with self._lock():
                    part.replace(entry.path)
            finally:
                part.unlink(missing_ok=True)
            return file

    def _reserve(self, part: Path, size: int) -> bool:
        """Make room for a shard and claim it with an empty file; return False while others claim too much."""
        with self._lock():
            self._remove_leftovers(part)
            # The claimed size is part of the name, since the file itself only grows to that size during the fetch.
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
        """Remove partial files of killed processes.

        Whoever fetches a shard holds its lock, and the operating system frees the locks of a killed process. So a
        partial file is a leftover if its lock is free, or if it belongs to the lock that this process holds itself.
        """
        for part in self.folder.glob("*.part"):
            if _lock_name(part) == _lock_name(own):
                part.unlink()
                continue
            try:
                with self._lock(part, blocking=False):
                    part.unlink(missing_ok=True)
            except Timeout:
                continue  # another process is fetching it

    def _lock(self, shard: Path | None = None, blocking: bool = True) -> FileLock:
        """Return the lock for fetching a shard, or the lock for changes of the folder if no shard is given.

        A process that needs both takes the lock of its shard first; it waits for no other shard's lock meanwhile.
        """
        return FileLock(self.folder / ("all.lock" if shard is None else _lock_name(shard)), blocking=blocking)


def _lock_name(shard: Path) -> str:
    """Return one of 256 lock names: lock files cannot be removed safely, so their number is bounded instead."""
    return f"{shard.name[:2]}.lock"


def _open(path: Path) -> IO[bytes] | None:
    """Open a file of the cache and mark it as used; return None if it is not there."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    # By hand, since most file systems are mounted with relatime or noatime. By descriptor, since the name may be gone.
    os.utime(file.fileno(), ns=(time.time_ns(), time.time_ns()))
    return file


#: Default size of the local cache of remote shards, in megabytes (10^6 bytes).
DEFAULT_CACHE_MB = 20_000


class Storage:
    """A folder of shards, local or remote.

    A local folder is read in place. Remote shards are fetched whole into a local cache, see `ShardCache`; other files,
    such as the index, are read from the remote each time. A storage may be forked or pickled.

    Args:
        url: A local folder, or an address such as `s3://bucket/shards` whose fsspec package is installed.
        cache_dir: Folder for fetched shards; by default `lightning_vista/shards` in the user's cache folder.
        cache_mb: Size of the cache in megabytes (10^6 bytes). Larger shards are read from the remote sample by sample,
            so 0 turns the cache off.

    Raises:
        ValueError: If fsspec does not know the kind of address or lacks its package, or if `cache_mb` is negative.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "000000.tar").write_bytes(b"0123456789")
        ...     Storage(folder).read_range("000000.tar", offset=2, length=3)
        b'234'
    """

    def __init__(
        self, url: str | Path, cache_dir: str | Path | None = None, cache_mb: float = DEFAULT_CACHE_MB
    ) -> None:
        if cache_mb < 0:
            raise ValueError(f"`cache_mb`: expected megabytes, or 0 for no cache, got {cache_mb}.")
        self.url = str(url)
        self.shown_url = without_secrets(self.url)
        self._connection, self._root = self._connect()
        self._process = os.getpid()
        local = isinstance(self._connection, LocalFileSystem)
        folder = cache_dir or _user_cache()
        self._cache = None if local or not cache_mb else ShardCache(self.url, folder, int(cache_mb * 1e6))

    def read_file(self, name: str) -> bytes:
        """Return the current content of a file in the folder."""
        content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return `length` bytes of a shard, starting at `offset`; fewer if the shard ends before."""
        cached = self._open_cached(name)
        if cached is None:
            content: bytes = self._files.cat_file(f"{self._root}/{name}", start=offset, end=offset + length)
            return content
        with cached:
            cached.seek(offset)
            return cached.read(length)

    def open(self, name: str) -> IO[bytes]:
        """Open a shard at its beginning."""
        file: IO[bytes] = self._open_cached(name) or self._files.open(f"{self._root}/{name}", "rb")
        return file

    def _open_cached(self, name: str) -> IO[bytes] | None:
        return None if self._cache is None else self._cache.open(self._files, f"{self._root}/{name}")

    @property
    def _files(self) -> Any:  # fsspec has no types
        """File system, connected anew after a fork: remote ones hold threads and sockets that do not survive it."""
        if self._process != os.getpid():
            self._connection, _ = self._connect()
            self._process = os.getpid()
        return self._connection

    def _connect(self) -> tuple[Any, str]:
        try:
            files, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise ValueError(f"`url`: expected an address that fsspec can open, got {self.url!r}: {error}") from error
        return files, root


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lightning_vista" / "shards"

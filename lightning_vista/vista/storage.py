"""Shards in a folder or at a remote address, with a local cache.

fsspec's own caches are unbounded, and they write under the final name, so a kill leaves half a file.
"""

import hashlib
import os
import re
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

from filelock import FileLock, Timeout
from fsspec.implementations.local import LocalFileSystem

from lightning_vista.files.documents import check_regular
from lightning_vista.files.redaction import address_identity, without_secrets
from lightning_vista.vista.remote import RemoteFiles, Retries, connect, join_path

#: Names that file systems give to whatever changes with a file's content; in lower case, without punctuation.
_VERSION_FIELDS = frozenset(
    ("blobid", "contentmd5", "created", "digest", "etag", "generation", "lastmodified", "md5hash", "modified", "mtime")
)


#: Names of the files in a cache; files of other names are never removed.
_CACHED = re.compile(r"[0-9a-f]{32}\.tar")
_ARRIVING = re.compile(r"[0-9a-f]{32}\.(\d+)\.part")


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
    - A fetch that failed or was killed is resumed where it stopped. Another shard's fetch removes what it left.

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

    def open(self, remote: RemoteFiles, path: str) -> IO[bytes] | None:
        """Open a shard; fetch it first if needed.

        Args:
            remote: The remote files.
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

    def discard(self, path: str) -> None:
        """Remove the copy of a shard, so that the next reader fetches it again.

        Args:
            path: Path of the shard in the file system.
        """
        entry = self._entries.pop(path, None)
        if entry is not None:
            with self._lock():
                entry.path.unlink(missing_ok=True)

    def _entry(self, remote: RemoteFiles, path: str) -> _Entry | None:
        """Return the entry of a shard's current version; None if the shard cannot be cached."""
        info = remote.info(path)
        fields = {name.lower().replace("-", "").replace("_", ""): str(value) for name, value in info.items()}
        version = sorted((name, fields[name]) for name in _VERSION_FIELDS & fields.keys() if fields[name] != "None")
        if not version or info.get("size") is None or info["size"] > self.max_bytes:
            return None
        identity = f"{address_identity(self.url)}\n{address_identity(path)}\n{info['size']}\n{version}"
        return _Entry(self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.tar", info["size"])

    def _fetch(self, remote: RemoteFiles, path: str, entry: _Entry) -> IO[bytes]:
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
            with part.open("ab") as arriving:
                remote.receive(path, arriving.write, start=arriving.tell(), stop=entry.size, whole=True)
                arriving.flush()
                os.fsync(arriving.fileno())  # else a power cut could leave the final name without the content
            # The version is compared after the fetch: a shard replaced meanwhile would mix two versions.
            if self._entry(remote, path) != entry:
                part.unlink()
                raise OSError(f"{without_secrets(path)} changed while it was fetched: run again when it is complete.")
            # Opened before any other process can see the shard and remove it to make room.
            file = part.open("rb")
            with self._lock():
                part.replace(entry.path)
            return file

    def _reserve(self, part: Path, size: int) -> bool:
        """Make room for a shard and claim it with an empty file; return False while others claim too much."""
        with self._lock():
            self._remove_leftovers(part)
            # The claimed size is part of the name, since the file itself only grows to that size during the fetch.
            claimed = sum(size for other, size in self._arriving() if other != part)
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
        return [(path, path.stat()) for path in self.folder.iterdir() if _CACHED.fullmatch(path.name)]

    def _arriving(self) -> list[tuple[Path, int]]:
        names = ((path, _ARRIVING.fullmatch(path.name)) for path in self.folder.iterdir())
        return [(path, int(match[1])) for path, match in names if match is not None]

    def _remove_leftovers(self, own: Path) -> None:
        """Remove partial files of killed processes, but for the one that this fetch resumes.

        Whoever fetches a shard holds its lock, and the operating system frees the locks of a killed process. So a
        partial file is a leftover if its lock is free, or if it belongs to the lock that this process holds itself.
        """
        for part, _ in self._arriving():
            if part == own:
                continue
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
        retries: Patience with the remote server.

    Attributes:
        shown_url: The address without passwords and keys, for messages.

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
        self,
        url: str | Path,
        cache_dir: str | Path | None = None,
        cache_mb: float = DEFAULT_CACHE_MB,
        retries: Retries | None = None,
    ) -> None:
        if cache_mb < 0:
            raise ValueError(f"`cache_mb`: expected megabytes, or 0 for no cache, got {cache_mb}.")
        self.url = str(url)
        self.shown_url = without_secrets(self.url)
        self._retries = retries or Retries()
        self._connection, self._root = connect(self.url, self._retries)
        self._process = os.getpid()
        self.is_local = isinstance(self._connection, LocalFileSystem)
        folder = cache_dir or _user_cache()
        self._cache = None if self.is_local or not cache_mb else ShardCache(self.url, folder, int(cache_mb * 1e6))
        self._discarded: set[str] = set()

    def read_file(self, name: str) -> bytes:
        """Return the current content of a file in the folder."""
        if self.is_local:
            return self._local(name).read_bytes()
        return self._files.read(self._path(name))

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return `length` bytes of a shard, starting at `offset`; fewer if the shard ends before."""
        file = self._open_local(name)
        if file is None:
            return self._files.read(self._path(name), offset, length)
        with file:
            file.seek(offset)
            return file.read(length)

    def read_checked(self, name: str, offset: int, length: int, sha256: str) -> bytes:
        """Return bytes of a shard, and read them again if they do not have the checksum.

        A copy in the cache may be damaged, and so may be what has just arrived. The copy is fetched again, once for
        each shard: if the remote shard is damaged too, that does not help.

        Args:
            name: Name of the shard.
            offset: First byte.
            length: Number of bytes.
            sha256: Checksum that the bytes should have.

        Returns:
            The bytes, which may still lack the checksum.
        """
        content = self.read_range(name, offset, length)
        if self.is_local or hashlib.sha256(content).hexdigest() == sha256:
            return content
        if self._cache is not None and name not in self._discarded:
            self._discarded.add(name)
            self._cache.discard(self._path(name))
        return self.read_range(name, offset, length)

    def open(self, name: str) -> IO[bytes]:
        """Open a shard at its beginning; one that cannot be kept in the cache is fetched into a temporary file."""
        file = self._open_local(name)
        if file is None:
            file = tempfile.TemporaryFile()  # noqa: SIM115 # the caller closes it
            try:
                self._files.receive(self._path(name), file.write)
            except BaseException:
                file.close()
                raise
            file.seek(0)
        return file

    def _open_local(self, name: str) -> IO[bytes] | None:
        """Open a local shard, or the copy of a remote one; None if there can be no copy."""
        if self.is_local:
            return self._local(name).open("rb")
        return None if self._cache is None else self._cache.open(self._files, self._path(name))

    def _local(self, name: str) -> Path:
        path = Path(self._root, name)
        check_regular(path)
        return path

    def _path(self, name: str) -> str:
        return join_path(self._root, name)

    @property
    def _files(self) -> RemoteFiles:
        """Remote files, connected anew after a fork: file systems hold threads and sockets that do not survive it."""
        if self._process != os.getpid():
            self._connection, _ = connect(self.url, self._retries)
            self._process = os.getpid()
        return RemoteFiles(self._connection, self._retries)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lightning_vista" / "shards"

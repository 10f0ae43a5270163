"""Reads files, or parts of files, of a local folder or of any address that fsspec knows."""

import os
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lightning_vista.vista.shard_cache import ShardCache

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

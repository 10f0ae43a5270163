"""Reads files, or parts of files, of a local folder or of any address that fsspec knows."""

from pathlib import Path
from typing import IO

import fsspec


class Storage:
    """A folder of shards.

    Args:
        url: A local folder, or an address such as `s3://bucket/shards` whose fsspec package is installed.

    Raises:
        ValueError: If fsspec does not know the kind of address, or its package is missing.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise ValueError(f"{self.url}: {error}") from error

    def read_file(self, name: str) -> bytes:
        """All bytes of a file of the folder."""
        content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on; fewer where the file ends before."""
        content: bytes = self._files.cat_file(f"{self._root}/{name}", start=offset, end=offset + length)
        return content

    def open(self, name: str) -> IO[bytes]:
        """A file of the folder, to be read from its beginning."""
        file: IO[bytes] = self._files.open(f"{self._root}/{name}", "rb")
        return file

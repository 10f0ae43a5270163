"""One sample as tar members, as WebDataset reads it: `<key>.json` with `<key>.mp4`, or with `<key>.000.jpg` and so on.

A shard is the concatenation of its samples and an end mark; so each sample can be written, hashed and read on its own.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable

#: What ends a tar file: two empty blocks.
END_OF_SHARD = bytes(2 * tarfile.BLOCKSIZE)


def sample_key(video: str) -> str:
    """The key of a video: 16 hex digits of its path's SHA-256, since paths hold dots and spaces, which keys may not.

    Example:
        >>> sample_key("home/objects/a ball.mp4")
        '8ecf939da4af8f8f'
    """
    return hashlib.sha256(video.encode()).hexdigest()[:16]


def pack_sample(key: str, members: Iterable[tuple[str, bytes]]) -> bytes:
    """A sample's tar members, with headers that name no time, owner or machine.

    Args:
        key: The stem of the names.
        members: Ending (`json`, `mp4`, `000.jpg`) and content of each.

    Returns:
        Whole blocks of 512 bytes, without the mark that ends a tar file.

    Example:
        >>> packed = pack_sample("0", [("json", b"{}")])
        >>> len(packed), unpack_sample(packed)
        (1024, {'json': b'{}'})
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for ending, content in members:
            header = tarfile.TarInfo(f"{key}.{ending}")
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
        length = tar.offset
    return buffer.getvalue()[:length]


def unpack_sample(packed: bytes) -> dict[str, bytes]:
    """The contents of a sample by their endings, the inverse of `pack_sample`.

    Raises:
        ValueError: If the bytes are not tar members.
    """
    members, position = {}, 0
    try:
        while position < len(packed):  # tarfile.open would take as long as decoding some frames
            start = position + tarfile.BLOCKSIZE
            header = tarfile.TarInfo.frombuf(packed[position:start], "utf-8", "strict")
            content = packed[start : start + header.size]
            if len(content) < header.size:
                raise tarfile.ReadError("unexpected end of data")
            members[header.name.partition(".")[2]] = content
            position = start + -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise ValueError(f"not a sample of a tar file: {error}") from error
    return members

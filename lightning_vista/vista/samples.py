"""Samples of shards: how they are packed, and how their frames are decoded.

A shard is the concatenation of its samples and an end mark; so each sample can be written, hashed and read on its own.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping

import torch

from lightning_vista.video import FrameSpec, decode_video, sample_indices
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.video.resizing import resize_frames
from lightning_vista.vista.batch import DecodedVideo
from lightning_vista.vista.index import Sample, ShardError
from lightning_vista.vista.storage import Storage

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


def check_frame_spec(stored: FrameSpec | None, wanted: FrameSpec) -> None:
    """Check that shards can give the frames that a scorer wants.

    Args:
        stored: What the shards hold; None for whole videos, which can give any frames.
        wanted: What the scorer wants.

    Raises:
        ShardError: If frames would have to be resized twice. Whether the right frames are there is checked for each
            video, since that depends on its length.
    """
    if stored is None or stored.size is None:
        return
    if (stored.height_width, stored.crop, stored.interpolation) != (
        wanted.height_width,
        wanted.crop,
        wanted.interpolation,
    ):
        raise ShardError(
            f"These shards hold frames resized as {stored}, but the scorer wants {wanted}: "
            "build shards of whole videos, or with the frames and size of this scorer."
        )


def read_members(storage: Storage, sample: Sample) -> dict[str, bytes]:
    """Read a sample from its shard.

    Args:
        storage: The folder of the shards.
        sample: Its entry in the index.

    Returns:
        The contents of its files by their endings.

    Raises:
        ShardError: If it cannot be read or has changed since the index was written.
    """
    try:
        packed = storage.read_range(sample.shard, sample.offset, sample.bytes)
        if hashlib.sha256(packed).hexdigest() != sample.sha256:
            raise ValueError("its bytes have changed since the index was written")
        return unpack_sample(packed)
    except (OSError, ValueError) as error:
        raise sample_error(sample, error) from error


def decode_members(sample: Sample, members: Mapping[str, bytes], spec: FrameSpec) -> DecodedVideo:
    """Decode the frames of a sample.

    Args:
        sample: Its entry in the index.
        members: The contents of its files by their endings.
        spec: The frames that are wanted.

    Returns:
        The frames.

    Raises:
        ShardError: If they do not decode, or are other frames than wanted.
    """
    try:
        if "mp4" in members:
            clip = decode_video(members["mp4"], spec)
            return DecodedVideo(sample, clip.frames, tuple(clip.indices), tuple(clip.times))
        return _stored_frames(sample, members, spec)
    except (KeyError, OSError, ValueError) as error:
        raise sample_error(sample, error) from error


def sample_error(sample: Sample, reason: object) -> ShardError:
    """An error that names shard, key and video."""
    return ShardError(f"shard {sample.shard}, key {sample.key}, video {sample.video}: {reason}")


def _stored_frames(sample: Sample, members: Mapping[str, bytes], spec: FrameSpec) -> DecodedVideo:
    """The wanted frames among those that were sampled when the shards were built."""
    description = json.loads(members["json"])
    position = {index: number for number, index in enumerate(description["frame_indices"])}
    times = description["all_times"]
    indices = sample_indices(len(times), spec.num_frames, spec.sampling, times)
    absent = sorted(set(indices) - set(position))
    if absent:
        raise ValueError(f"frames {absent} are wanted ({spec}), but the shards hold only {sorted(position)}")
    frames = torch.stack([decode_jpeg(members[f"{position[index]:03d}.jpg"]) for index in indices])
    return DecodedVideo(sample, resize_frames(frames, spec), tuple(indices), tuple(times[index] for index in indices))

"""Samples of shards: packing, reading and decoding.

A shard is the concatenation of its samples and an end mark. So each sample can be written, hashed and read on its own.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lightning_vista.files.documents import parse_json
from lightning_vista.video import FrameSpec, decode_video, sample_indices
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.video.resizing import resize_frames
from lightning_vista.video.video_limits import USUAL_LIMITS, VideoLimits
from lightning_vista.vista.batch import DecodedVideo
from lightning_vista.vista.index import Sample, ShardError
from lightning_vista.vista.remote import RemoteError
from lightning_vista.vista.storage import Storage

#: The end mark of a tar file: two empty blocks.
END_OF_SHARD = bytes(2 * tarfile.BLOCKSIZE)
#: Bytes that a sample's headers and description may add to its video.
_HEADERS = 10_000_000


def pack_sample(key: str, members: Iterable[tuple[str, bytes]]) -> bytes:
    """Pack a sample's files as tar members whose headers hold no time, owner or machine.

    Args:
        key: Stem of the file names.
        members: Ending (`json`, `mp4`, `000.jpg`) and content of each file.

    Returns:
        Whole blocks of 512 bytes, without the end mark of a tar file.

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
    """Return the contents of a sample's files by their endings; the inverse of `pack_sample`.

    Args:
        packed: The bytes of the sample's tar members.

    Returns:
        Ending -> content.

    Raises:
        ValueError: If the bytes are not tar members.
    """
    members, position = {}, 0
    try:
        # By hand, because tarfile.open on a small archive takes about as long as decoding some frames.
        while position < len(packed):
            start = position + tarfile.BLOCKSIZE
            header = tarfile.TarInfo.frombuf(packed[position:start], "utf-8", "strict")
            if header.size < 0:  # which would lead back to the same header
                raise tarfile.ReadError(f"expected a size of 0 or more, got {header.size}")
            content = packed[start : start + header.size]
            if len(content) < header.size:
                raise tarfile.ReadError("unexpected end of data")
            members[header.name.partition(".")[2]] = content
            # Content is padded to whole blocks; -(-a // b) rounds up.
            position = start + -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise ValueError(f"not a sample of a tar file: {error}") from error
    return members


def check_frame_spec(stored: FrameSpec | None, wanted: FrameSpec) -> None:
    """Check that shards can give the frames that a scorer needs.

    Args:
        stored: Frames that the shards hold; None for whole videos, which can give any frames.
        wanted: Frames that the scorer needs.

    Raises:
        ShardError: If frames would have to be resized twice. The presence of the right frames is checked for each
            video, since it depends on the video's length.
    """
    if stored is None or stored.size is None:
        return
    if (stored.height_width, stored.crop, stored.interpolation) != (
        wanted.height_width,
        wanted.crop,
        wanted.interpolation,
    ):
        raise ShardError(
            f"`frame_spec`: expected the frames of these shards, {stored}, got {wanted}. Build shards of whole videos, "
            "or with the frames and size of this scorer."
        )


def read_members(storage: Storage, sample: Sample, limits: VideoLimits = USUAL_LIMITS) -> dict[str, bytes]:
    """Read a sample from its shard.

    Args:
        storage: The folder of the shards.
        sample: The sample's entry in the index.
        limits: The most that the sample may be.

    Returns:
        Contents of the sample's files by their endings.

    Raises:
        RemoteError: If a remote server does not answer.
        ShardError: If the sample cannot be read, is too large or has changed since the index was written.
    """
    try:
        limits.check_bytes(sample.bytes - _HEADERS)
        packed = storage.read_checked(sample.shard, sample.offset, sample.bytes, sample.sha256)
    except RemoteError:
        raise  # a server that does not answer says nothing about the sample
    except (OSError, ValueError) as error:
        raise sample_error(sample, error) from error
    return unpack_checked(sample, packed)


def unpack_checked(sample: Sample, packed: bytes) -> dict[str, bytes]:
    """Compare the bytes of a sample with the index, and unpack them.

    Args:
        sample: The sample's entry in the index.
        packed: The bytes that its shard holds there.

    Returns:
        Contents of the sample's files by their endings.

    Raises:
        ShardError: If the bytes have changed since the index was written.
    """
    try:
        if hashlib.sha256(packed).hexdigest() != sample.sha256:
            raise ValueError("its bytes have changed since the index was written")
        return unpack_sample(packed)
    except ValueError as error:
        raise sample_error(sample, error) from error


def decode_members(
    sample: Sample, members: Mapping[str, bytes], spec: FrameSpec, limits: VideoLimits = USUAL_LIMITS
) -> DecodedVideo:
    """Decode the frames of a sample.

    Args:
        sample: The sample's entry in the index.
        members: Contents of the sample's files by their endings.
        spec: Frames that the scorer needs.
        limits: The most that the video may be.

    Returns:
        The frames.

    Raises:
        ShardError: If the frames do not decode, or the sample does not hold them.
    """
    try:
        if "mp4" in members:
            clip = decode_video(members["mp4"], spec, limits)
            return DecodedVideo(sample, clip.frames, tuple(clip.indices), tuple(clip.times))
        return _stored_frames(sample, members, spec, limits)
    except (KeyError, OSError, ValueError) as error:
        raise sample_error(sample, error) from error


def sample_description(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the description of a sample, whose entries about stored frames are checked: it may come from anywhere.

    Args:
        members: Contents of the sample's files by their endings.

    Returns:
        The JSON object.

    Raises:
        ValueError: If it is missing or not a JSON object, or if a sample of stored frames lacks their places, their
            times or a picture.
    """
    if "json" not in members:
        raise ValueError("expected a description (json), got none")
    description = parse_json(members["json"])
    if not isinstance(description, dict):
        raise ValueError(f"expected an object as its description, got {type(description).__name__}")
    if "mp4" in members:
        return description
    times, indices = description.get("all_times"), description.get("frame_indices")
    # Texts of JSON can hold numbers that are too large for floats.
    if not isinstance(times, list) or not all(type(time) in (int, float) and abs(time) < 1e12 for time in times):
        raise ValueError(f"`all_times`: expected a list of seconds, got {times!r:.80}")
    if not isinstance(indices, list) or not all(type(index) is int and 0 <= index < len(times) for index in indices):
        raise ValueError(f"`frame_indices`: expected a list of numbers from 0 to {len(times) - 1}, got {indices!r:.80}")
    absent = [number for number in range(len(indices)) if f"{number:03d}.jpg" not in members]
    if absent or not indices:
        raise ValueError(f"expected a picture for each of {len(indices)} frames, got none for {absent[:5] or 'any'}")
    return description


def check_same_size(shapes: Iterable[tuple[int, ...]]) -> None:
    """Check that all frames of a sample have one size.

    Args:
        shapes: Shape of each frame, `(3, height, width)`.

    Raises:
        ValueError: If they differ.
    """
    if len(sizes := {(width, height) for _, height, width in shapes}) > 1:
        shown = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:3])
        raise ValueError(f"expected frames of one size, got {shown}")


def sample_error(sample: Sample, reason: object) -> ShardError:
    """Return an error that names shard, key and video."""
    return ShardError(f"shard {sample.shard}, key {sample.key}, video {sample.video}: {reason}")


def _stored_frames(sample: Sample, members: Mapping[str, bytes], spec: FrameSpec, limits: VideoLimits) -> DecodedVideo:
    """Return the requested frames from those that were sampled when the shards were built."""
    description = sample_description(members)
    position = {index: number for number, index in enumerate(description["frame_indices"])}
    times = description["all_times"]
    indices = sample_indices(len(times), spec.num_frames, spec.sampling, times)
    absent = sorted(set(indices) - set(position))
    if absent:
        raise ValueError(f"frames {absent} are wanted ({spec}), but the shards hold only {sorted(position)}")
    frames = [decode_jpeg(members[f"{position[index]:03d}.jpg"], limits) for index in indices]
    check_same_size(frame.shape for frame in frames)
    return DecodedVideo(
        sample, resize_frames(torch.stack(frames), spec), tuple(indices), tuple(times[index] for index in indices)
    )

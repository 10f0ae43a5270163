"""Decodes the frames that are wanted, and little else."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from lightning_vista.video.resizing import resize_frames
from lightning_vista.video.sampling import FrameSpec, sample_indices

Image = NDArray[np.uint8]
Choose = Callable[[int], list[int]]
Decoded = tuple[list[Image], list[int], int]
Packets = Sequence["av.Packet[av.VideoStream]"]


class VideoError(ValueError):
    """A video that cannot be decoded; the message says why."""


class Clip(NamedTuple):
    """Frames of a video.

    Attributes:
        frames: uint8 RGB `(frames, 3, height, width)`.
        indices: Which frames of the video these are, ascending; short videos repeat some.
        total_frames: How many frames the video has.
    """

    frames: Tensor
    indices: list[int]
    total_frames: int


def decode_video(data: bytes, spec: FrameSpec) -> Clip:
    """Decode the frames of a video that a scorer wants.

    Args:
        data: The bytes of a video file in any container and codec that FFmpeg reads.
        spec: Which frames, and their size.

    Returns:
        `spec.num_frames` frames of the size that `spec` says.

    Raises:
        VideoError: If the bytes are not a video, or a wanted frame does not decode.
        ValueError: If `spec.sampling` does not fit the video's length (see `sample_indices`).
    """
    images, indices, total = decode_frames(data, lambda total: sample_indices(total, spec.num_frames, spec.sampling))
    frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return Clip(resize_frames(frames, spec), indices, total)


def check_video(data: bytes) -> None:
    """Decode the first and the last frame of a video.

    Args:
        data: The bytes of a video file.

    Raises:
        VideoError: If they do not decode.
    """
    decode_frames(data, lambda total: sorted({0, total - 1}))


def decode_frames(data: bytes, choose: Choose) -> Decoded:
    """Decode chosen frames of a video.

    The packets are listed without decoding them. Then only groups of pictures with a wanted frame are decoded, only
    as far as the last wanted frame, without the frames that no other refers to, and only wanted frames are converted
    to RGB. Where a container does not name the time of each frame, or names it wrongly, everything is decoded.

    Args:
        data: The bytes of a video file.
        choose: From the number of frames to the indices wanted, ascending; an index may occur several times.

    Returns:
        One RGB frame `(height, width, 3)`, uint8, for each index, turned as the file's rotation says; the indices; the
        number of frames of the video.

    Raises:
        VideoError: If the bytes are not a video, or a wanted frame does not decode.
    """
    try:
        return _decode_by_time(data, choose) or _decode_by_order(data, choose)
    except av.FFmpegError as error:
        raise VideoError(f"not a decodable video: {error}") from error


def _decode_by_time(data: bytes, choose: Choose) -> Decoded | None:
    """Decode only what is needed, finding frames by their times; None where the times do not tell."""
    with _open(data) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        if len(packets) < stream.frames:
            raise VideoError(f"the file is cut short: {stream.frames} frames announced, {len(packets)} there")
        times = sorted(packet.pts for packet in packets if packet.pts is not None and not packet.is_discard)
        if not times or len({packet.pts for packet in packets}) < len(packets):
            return None
        indices = choose(len(times))
        wanted = {times[index] for index in indices}
        to_rgb = _RGBConverter()
        frames = _frames_at(stream.codec_context, packets, wanted)
        images = {frame.pts: to_rgb(frame) for frame in frames if frame.pts in wanted}
    if len(images) < len(wanted):
        return None
    return [images[times[index]] for index in indices], indices, len(times)


def _decode_by_order(data: bytes, choose: Choose) -> Decoded:
    """Decode everything twice: to count the frames, then to convert the wanted ones."""
    with _open(data) as container:
        total = sum(1 for _ in container.decode(video=0))
    if total == 0:
        raise VideoError("not a decodable video: no frame decodes")
    indices = choose(total)
    with _open(data) as container:
        to_rgb = _RGBConverter()
        images = {i: to_rgb(frame) for i, frame in enumerate(container.decode(video=0)) if i in indices}
    return [images[index] for index in indices], indices, total


def _frames_at(codec: av.VideoCodecContext, packets: Packets, wanted: set[int]) -> Iterator[av.VideoFrame]:
    """Decode the stretches of packets that wanted times depend on; among the frames are all the wanted ones."""
    for start, stop in _stretches(packets, wanted):
        for packet in packets[start:stop]:
            codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            yield from codec.decode(packet)
        yield from codec.decode(None)
        codec.flush_buffers()


def _stretches(packets: Packets, wanted: set[int]) -> list[tuple[int, int]]:
    """Ranges of packets, from a keyframe to the last wanted frame that depends on it, without overlaps."""
    stretches: list[tuple[int, int]] = []
    keys: list[int] = []
    for position, packet in enumerate(packets):
        if packet.is_keyframe or not keys:
            keys.append(position)
        if packet.pts not in wanted:
            continue
        start, key_time = keys[-1], packets[keys[-1]].pts
        if key_time is not None and packet.pts < key_time and len(keys) > 1:
            start = keys[-2]  # shown before its keyframe, so it also refers to the group before
        if stretches and start < stretches[-1][1]:
            start = stretches.pop()[0]
        stretches.append((start, position + 1))
    return stretches


class _RGBConverter:
    """Frames of one file to upright RGB arrays, with one converter for all of them."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Image:
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        image: Image = np.asarray(rgb, dtype=np.uint8)
        return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image


def _open(data: bytes) -> av.container.InputContainer:
    """Open a file in memory; one thread, since a worker owns one."""
    container = av.open(io.BytesIO(data), "r")
    if not container.streams.video:
        container.close()
        raise VideoError("the file holds no video stream")
    container.streams.video[0].codec_context.thread_count = 1
    return container

"""Video decoding, restricted to the frames that a scorer needs."""

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

RGBImage = NDArray[np.uint8]
Choose = Callable[[int], list[int]]
Decoded = tuple[list[RGBImage], list[int], int]
Packets = Sequence["av.Packet[av.VideoStream]"]


class VideoError(ValueError):
    """A video that cannot be decoded; the message gives the reason."""


class Clip(NamedTuple):
    """Frames of a video.

    Attributes:
        frames: RGB frames `(frames, 3, height, width)`, uint8.
        indices: Positions of the frames in the video, ascending; short videos repeat some.
        total_frames: Number of frames of the video.
    """

    frames: Tensor
    indices: list[int]
    total_frames: int


def decode_video(data: bytes, spec: FrameSpec) -> Clip:
    """Decode the frames of a video that a scorer needs.

    Args:
        data: The bytes of a video file in any container and codec that FFmpeg reads.
        spec: Number, sampling and size of the frames.

    Returns:
        `spec.num_frames` frames of the size in `spec`.

    Raises:
        VideoError: If the bytes are not a video, or a requested frame does not decode.
        ValueError: If `spec.sampling` does not fit the video's length (see `sample_indices`).

    Example:
        >>> from lightning_vista.video import encode_mp4
        >>> video = encode_mp4(np.zeros((10, 32, 32, 3), dtype=np.uint8))
        >>> clip = decode_video(video, FrameSpec(num_frames=4, size=16))
        >>> clip.frames.shape, clip.indices, clip.total_frames
        (torch.Size([4, 3, 16, 16]), [0, 3, 6, 9], 10)
    """
    images, indices, total = decode_frames(data, lambda total: sample_indices(total, spec.num_frames, spec.sampling))
    frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return Clip(resize_frames(frames, spec), indices, total)


def check_video(data: bytes) -> None:
    """Decode the first and the last frame of a video.

    Args:
        data: The bytes of a video file.

    Raises:
        VideoError: If one of them does not decode.
    """
    decode_frames(data, lambda total: sorted({0, total - 1}))


def decode_frames(data: bytes, choose: Choose) -> Decoded:
    """Decode chosen frames of a video.

    Packets are first listed without decoding. Then only groups of pictures with a requested frame are decoded, and
    only up to the last requested frame of each. Frames that no other frame refers to are skipped, and only requested
    frames are converted to RGB. If a container's frame times are missing or wrong, the whole video is decoded.

    Args:
        data: The bytes of a video file.
        choose: Function from the number of frames to the requested indices, ascending; an index may occur repeatedly.

    Returns:
        One upright RGB frame `(height, width, 3)`, uint8, for each index; the indices; the number of frames of the
        video.

    Raises:
        VideoError: If the bytes are not a video, or a requested frame does not decode.
    """
    try:
        return _decode_by_time(data, choose) or _decode_by_order(data, choose)
    except av.FFmpegError as error:
        raise VideoError(f"not a decodable video: {error}") from error


def _decode_by_time(data: bytes, choose: Choose) -> Decoded | None:
    """Decode only what is needed, finding frames by their times; return None if the times are missing or wrong."""
    with _open(data) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        if len(packets) < stream.frames:
            # Reasons of a VideoError end up in score tables, which should not differ between releases.
            raise VideoError(f"the file is cut short: {stream.frames} frames announced, {len(packets)} there")
        # Packets come in decoding order; their presentation times, sorted, are the frames in display order. Packets
        # marked for discarding (an edit list of mp4) are decoded for others' sake but not shown.
        times = sorted(packet.pts for packet in packets if packet.pts is not None and not packet.is_discard)
        if not times or len({packet.pts for packet in packets}) < len(packets):
            return None
        indices = choose(len(times))
        wanted = {times[index] for index in indices}
        to_rgb = _RGBConverter()
        frames = _frames_at(stream.codec_context, packets, wanted)
        images = {frame.pts: to_rgb(frame) for frame in frames if frame.pts in wanted}
    if len(images) < len(wanted):
        return None  # a decoded frame had another time than its packet: fall back to counting
    return [images[times[index]] for index in indices], indices, len(times)


def _decode_by_order(data: bytes, choose: Choose) -> Decoded:
    """Decode the whole video twice: to count its frames, then to convert the requested ones.

    Twice, because the indices depend on the count, and keeping all frames of a long video could exhaust the memory.
    """
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
    """Decode the stretches of packets that the requested times depend on; yield at least the requested frames."""
    for start, stop in _stretches(packets, wanted):
        for packet in packets[start:stop]:
            # NONREF lets the decoder drop frames that no other frame refers to, unless they are requested.
            codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            yield from codec.decode(packet)
        # The decoder holds back frames for reordering: drain it, then reset it for the next stretch.
        yield from codec.decode(None)
        codec.flush_buffers()


def _stretches(packets: Packets, wanted: set[int]) -> list[tuple[int, int]]:
    """Return ranges of packets without overlaps, each from a keyframe to the last requested frame that needs it."""
    stretches: list[tuple[int, int]] = []
    keys: list[int] = []
    for position, packet in enumerate(packets):
        if packet.is_keyframe or not keys:
            keys.append(position)
        if packet.pts not in wanted:
            continue
        start, key_time = keys[-1], packets[keys[-1]].pts
        if key_time is not None and packet.pts < key_time and len(keys) > 1:
            # An open group of pictures: this frame is shown before its keyframe, so it also refers to the group before.
            start = keys[-2]
        if stretches and start < stretches[-1][1]:
            start = stretches.pop()[0]  # both stretches begin in the same group: decode that group once
        stretches.append((start, position + 1))
    return stretches


class _RGBConverter:
    """A converter of one file's frames to upright RGB arrays; it keeps FFmpeg's scaler between frames."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> RGBImage:
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        image: RGBImage = np.asarray(rgb, dtype=np.uint8)
        return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image


def _open(data: bytes) -> av.container.InputContainer:
    """Open a file in memory for decoding on one thread: each worker of a DataLoader has one core."""
    container = av.open(io.BytesIO(data), "r")
    if not container.streams.video:
        container.close()
        raise VideoError("the file holds no video stream")
    container.streams.video[0].codec_context.thread_count = 1
    return container

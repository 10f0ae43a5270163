"""Opens the file of a video that comes from anywhere, lists its packets, and refuses one that is cut short."""

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import av

from lightning_vista.video.video_limits import FORMATS, VideoError, VideoLimits

Packets = Sequence["av.Packet[av.VideoStream]"]

#: Containers that announce their length, if they have a duration or a number of frames. In others (MPEG-TS, ASF, raw
#: streams) FFmpeg estimates the duration from the packets, so a cut leaves no trace.
_ANNOUNCING = ("mov,mp4", "matroska", "flv", "avi", "ivf", "mxf")
#: The seconds by which a stream may end before the announced duration, beside a frame: durations are rounded.
_ROUNDING = 0.03


class Listing(NamedTuple):
    """The packets of a video stream, with whether their file announces its length."""

    packets: Packets
    announces_length: bool


def open_video(data: bytes, limits: VideoLimits, **options: str) -> av.container.InputContainer:
    """Open a file in memory, with one thread, since a worker owns one; further options are FFmpeg's."""
    limits.check_bytes(len(data))
    try:
        container = av.open(io.BytesIO(data), "r", options=_options(limits) | options)
    except av.ArgumentError as error:
        # The code of FFmpeg for a format that is not on the list, and for most other things that it does not like.
        raise VideoError(f"not a decodable video, or in none of the formats {', '.join(FORMATS)}: {error}") from error
    try:
        if not container.streams.video:
            raise VideoError("the file holds no video stream")
        codec: Any = video_stream(container).codec_context
        if codec is None:  # whatever PyAV's annotations say
            raise VideoError("the video is of an unknown codec")
        limits.check_pixels(codec.width, codec.height)
    except VideoError:
        container.close()
        raise
    codec.thread_count = 1
    codec.options = {"max_pixels": _most_pixels(limits)}  # later frames may be larger
    return container


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Return the video among the streams, which may also be pictures of a cover."""
    stream = container.streams.best("video")
    return stream if isinstance(stream, av.VideoStream) else container.streams.video[0]


def list_packets(data: bytes, container: av.container.InputContainer, limits: VideoLimits) -> Listing:
    """List the packets of the video without decoding them, and refuse a file that is cut short.

    Args:
        data: The bytes of the file.
        container: The file, just opened.
        limits: The most that the video may be.

    Raises:
        VideoError: If the file is cut short, or beyond the limits.
    """
    stream = video_stream(container)
    packets, others = _packets(container, limits)
    if not packets:
        raise VideoError("the file is cut short, or empty: it holds no frame")
    # AVI announces places of frames, some of which are empty where a frame is shown for longer.
    has_empty_places = container.format.name == "avi" and len(packets) < stream.frames and _is_whole_riff(data)
    if not has_empty_places:
        _check_count(data, container, packets, limits)
    is_announcing = container.format.name.startswith(_ANNOUNCING)
    duration = (container.duration or 0) / av.time_base if is_announcing else 0.0
    end = max(_end(packets), _end(others))  # sound may last longer than the picture
    if duration - end > _tolerance(packets) and not has_empty_places:
        raise VideoError(f"the file is cut short: {duration:.2f} seconds announced, {end:.2f} there")
    # Fragments of an MP4 each have a duration, but nothing tells how many of them there should be.
    is_fragmented = container.format.name.startswith("mov") and not stream.frames
    return Listing(packets, is_announcing and not is_fragmented and bool(stream.frames or duration))


def _packets(container: av.container.InputContainer, limits: VideoLimits) -> tuple[list[Any], list[Any]]:
    """Return the packets of the video, and the last ones of all other streams."""
    stream = video_stream(container)
    packets: list[Any] = []
    others: list[Any] = []
    for packet in container.demux():
        if packet.size:
            if packet.stream_index == stream.index:
                packets.append(packet)
                limits.check_count(len(packets))
            else:
                del others[:-20]  # only the end of the others matters
                others.append(packet)
    return packets, others


def _check_count(data: bytes, container: av.container.InputContainer, packets: Packets, limits: VideoLimits) -> None:
    """Refuse a file that holds fewer frames than it announces, or a part of the last one."""
    announced, there, is_torn = video_stream(container).frames, len(packets), packets[-1].is_corrupt
    if there < announced and container.format.name.startswith("mov"):
        # A trimmed recording: its edit list leaves frames out, which the file still has to hold.
        with open_video(data, limits, ignore_editlist="1") as untrimmed:
            there = 0
            for packet in untrimmed.demux(video_stream(untrimmed)):
                if packet.size:
                    there, is_torn = there + 1, packet.is_corrupt
                    limits.check_count(there)
    if there < announced:
        raise VideoError(f"the file is cut short: {announced} frames announced, {there} there")
    if is_torn:
        raise VideoError(f"the file is cut short in its frame {there - 1}")


def _is_whole_riff(data: bytes) -> bool:
    """Tell whether a RIFF file is as long as its outermost chunks say; a long AVI has several."""
    end = 0
    while data[end : end + 4] == b"RIFF":
        end += 8 + int.from_bytes(data[end + 4 : end + 8], "little")
    return 8 < end <= len(data)


def _end(packets: Packets) -> float:
    """Return the time in seconds at which the last of some packets ends."""
    # It is among the last ones that are stored: codecs reorder frames by at most 16 places.
    ends = ((p.pts + (p.duration or 0)) * float(p.time_base or 0) for p in packets[-20:] if p.pts is not None)
    return max(ends, default=0.0)


def _tolerance(packets: Packets) -> float:
    """Return the seconds by which a whole file may fall short of its duration."""
    unit = float(packets[-1].time_base or 0)
    if packets[-1].duration:
        return max(0.75 * packets[-1].duration * unit, _ROUNDING)
    # How long the last frame is shown is not known: as long as any other, perhaps.
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    return max((b - a for a, b in pairwise(times)), default=0) * unit + _ROUNDING


def _options(limits: VideoLimits) -> dict[str, str]:
    """Return the options for opening a file that comes from anywhere.

    Playlists (ffconcat, HLS, DASH, ...), SVG and other formats make FFmpeg open the files or addresses that they name,
    and the picture of a text file would reach the judge. Neither they nor any protocol is allowed.
    """
    return {
        "format_whitelist": ",".join(FORMATS),
        "protocol_whitelist": "none",  # an empty list would allow all
        "enable_drefs": "0",  # references of QuickTime to other files
        "use_absolute_path": "0",
        "max_streams": "64",
        "max_pixels": _most_pixels(limits),  # FFmpeg decodes a frame to find out about it
    }


def _most_pixels(limits: VideoLimits) -> str:
    """Return FFmpeg's own limit, which counts the padding of rows too; the exact one is checked here."""
    return str(2 * limits.max_pixels + 1_000_000)

"""Video decoding, video encoding and frame sampling."""

# ruff: noqa: E402  # the check comes first, because its error names the extra to install

from lightning_vista.optional import require

require("av", extra="vista")

from lightning_vista.video.clock import FrameClock
from lightning_vista.video.decoding import Clip, check_video, decode_video
from lightning_vista.video.encoding import encode_mp4
from lightning_vista.video.sampling import FrameSpec, sample_indices
from lightning_vista.video.video_limits import VideoError, VideoLimits

__all__ = [
    "Clip",
    "FrameClock",
    "FrameSpec",
    "VideoError",
    "VideoLimits",
    "check_video",
    "decode_video",
    "encode_mp4",
    "sample_indices",
]

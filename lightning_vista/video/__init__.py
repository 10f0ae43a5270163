"""Video decoding, video encoding and frame sampling."""

from lightning_vista.video.clock import FrameClock
from lightning_vista.video.decoding import Clip, check_video, decode_video
from lightning_vista.video.encoding import encode_mp4
from lightning_vista.video.limits import VideoError, VideoLimits
from lightning_vista.video.sampling import FrameSpec, sample_indices

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

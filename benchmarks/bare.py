"""Baselines of decoding, written with PyAV alone."""

from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from lightning_vista.video import FrameSpec, sample_indices
from lightning_vista.video.resizing import resize_frames


def wanted_frames(path: Path, spec: FrameSpec) -> Tensor:
    """Decode frame by frame up to the last requested one; convert and resize only requested frames."""
    reformatter, images = VideoReformatter(), {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        indices = sample_indices(stream.frames, spec.num_frames, spec.sampling)
        for number, frame in enumerate(container.decode(stream)):
            if number in indices:
                images[number] = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            if number == indices[-1]:
                break
    return _resized([images[number] for number in indices], spec)


def whole_video(path: Path, spec: FrameSpec) -> Tensor:
    """Decode the whole video into one array, then select frames."""
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        images = [
            reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray() for frame in container.decode(stream)
        ]
    video = np.stack(images)
    return _resized(list(video[sample_indices(len(video), spec.num_frames, spec.sampling)]), spec)


def wanted_frames_in_parallel(paths: list[Path], spec: FrameSpec, num_workers: int) -> None:
    """Run `wanted_frames` on many files in as many processes as a DataLoader has workers; the frames stay there."""
    with get_context("fork").Pool(num_workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in pool.imap_unordered(partial(_decode, spec=spec), paths, chunksize=1):
            pass


def _decode(path: Path, spec: FrameSpec) -> int:
    return len(wanted_frames(path, spec))


def _resized(images: list[np.ndarray], spec: FrameSpec) -> Tensor:
    return resize_frames(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), spec)

"""The actions of `lightning-vista shards`."""

import argparse

from lightning_vista.files.redaction import without_secrets
from lightning_vista.video import FrameSpec, VideoLimits
from lightning_vista.vista.index import ShardIndex
from lightning_vista.vista.parts import merge_parts, parse_part
from lightning_vista.vista.remote import Retries
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.verification import verify_shards


def run_build(options: argparse.Namespace) -> None:
    """Pack a dataset of the official layout, or a part of it, into shards."""
    if (options.frames is None) != (options.size is None):
        raise ValueError("--frames and --size come together: how many frames of each video, and their edge in pixels.")
    frames = None if options.frames is None else FrameSpec(options.frames, options.sampling, options.size)
    index = build_shards(
        options.tasks,
        options.videos,
        options.out,
        select=options.select,
        max_shard_mb=options.max_shard_mb,
        missing=options.missing,
        frames=frames,
        overwrite=options.overwrite,
        num_workers=options.workers,
        limits=_limits(options),
        part=None if options.part is None else parse_part(options.part),
        split=options.split,
    )
    part = "" if options.part is None else f" (part {options.part}; `shards merge` joins the parts)"
    print(f"{index.summary()} in {options.out}{part}")
    for skipped in index.problem_sets.skipped:
        print(f"  not a problem set: {skipped.path}: {skipped.reason}")
    _print_rest(index)


def run_merge(options: argparse.Namespace) -> None:
    """Join the parts of a build."""
    index = merge_parts(options.parts, options.out, overwrite=options.overwrite)
    print(f"{index.summary()} in {options.out}, from {len(options.parts)} part(s)")
    _print_rest(index)


def run_verify(options: argparse.Namespace) -> None:
    """Check finished shards."""
    retries = Retries(options.attempts, options.read_timeout)
    index = verify_shards(options.dir, options.workers, _limits(options), retries)
    print(f"{index.summary()} in {without_secrets(options.dir)}: all unchanged")
    _print_unannounced(index)


def _limits(options: argparse.Namespace) -> VideoLimits:
    given = {name: getattr(options, name) for name in ("max_pixels", "max_frames", "max_video_mb")}
    return VideoLimits(**{name: value for name, value in given.items() if value is not None})


def _print_rest(index: ShardIndex) -> None:
    for skipped in index.skipped:
        print(f"  left out: {skipped.path}: {skipped.reason}")
    _print_unannounced(index)


def _print_unannounced(index: ShardIndex) -> None:
    """Name the videos whose end may be missing: their files do not announce their length."""
    if index.unannounced:
        names = ", ".join(index.unannounced[:3]) + (", ..." if len(index.unannounced) > 3 else "")
        print(f"  {len(index.unannounced)} video(s) do not announce their length, so a cut would go unnoticed: {names}")

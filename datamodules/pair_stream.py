"""Batches of problem sets for training scorers, from a growing store of one or several worlds."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from lightning_vista.files.own_files import read_cached, write_cached
from lightning_vista.scorers.dual.losses import PairBatch
from lightning_vista.scorers.dual.pretraining import FrameEncoder, load_weights
from lightning_vista.video import FrameSpec
from lightning_vista.video.resizing import resize_frames

if TYPE_CHECKING:
    from lightning_vista.mini.training_groups import TrainingGroup

#: Descriptions with exchanged steps: for all problem sets of several steps, for permutation sets, or for none.
Swapped = Literal["all", "permutation", "none"]
#: Name of the unlabelled problem sets, which share batches with each other.
UNLABELLED = "unlabelled"
#: The same without groups, and a number that gives labels a random generator of their own.
_EVERY, _LABELS = "every", 1


class SetEncoder:
    """Encoder from a problem set to its frames, or to the features of a frozen frame encoder.

    Args:
        spec: Frames of each video.
        weights: Weights of the frame encoder; None for frames.
        cache_dir: Folder that keeps features; None for none.
    """

    def __init__(self, spec: FrameSpec, weights: str | None, cache_dir: str | None = None) -> None:
        self.spec = spec
        self.frames: FrameEncoder | None = None
        self.cache_dir: Path | None = None
        if weights is not None:
            settings, state = load_weights(weights)
            self.frames = FrameEncoder(**settings).eval()
            self.frames.load_state_dict(state)
            if cache_dir is not None:
                size = (spec.size, spec.interpolation, spec.crop)
                key = hashlib.sha256(Path(weights).read_bytes() + repr(size).encode()).hexdigest()[:8]
                self.cache_dir = Path(cache_dir) / f"features-{key}"

    def encode_all(self, groups: Sequence["TrainingGroup"], name: str) -> list[Tensor]:
        """Encode problem sets, or read their features from the cache.

        Args:
            groups: The problem sets.
            name: Name under which the cache keeps their features, beside a digest of what is encoded.

        Returns:
            The result of `encode` for each of them.
        """
        if self.cache_dir is None:
            return [self.encode(group) for group in groups]
        digest = hashlib.sha256()
        for group in groups:
            digest.update(group.codes.tobytes())
        path = self.cache_dir / f"{name}-{digest.hexdigest()[:16]}.npy"
        content = read_cached(path)
        if content is None:
            file = io.BytesIO()
            np.save(file, torch.cat([self.encode(group) for group in groups]).numpy())
            content = file.getvalue()
            write_cached(path, content)
        features = torch.from_numpy(np.load(io.BytesIO(content)))
        return list(torch.split(features, [len(group.answers) for group in groups]))

    @torch.inference_mode()
    def encode(self, group: "TrainingGroup") -> Tensor:
        """Return uint8 frames `(videos, frames, 3, height, width)` or float16 features `(videos, frames, features)`."""
        from lightning_vista.mini.home_facts import draw_as_video

        shape = group.codes.shape[:2]
        is_drawn = group.codes.shape[-1] == 3  # the craft world has no tile codes
        drawn = np.ascontiguousarray(np.moveaxis(group.codes, -1, 2)) if is_drawn else draw_as_video(group.codes)
        frames = resize_frames(torch.from_numpy(drawn).flatten(0, 1), self.spec)
        if self.frames is None:
            return frames.reshape(*shape, *frames.shape[1:])
        with torch.autocast("cpu", torch.bfloat16):
            features: Tensor = self.frames(frames)
        return features.half().reshape(*shape, -1)


class StoredSet(NamedTuple):
    """Problem set in the store.

    Attributes:
        group: The problem set.
        frames: Its frames or features.
        pool: Name of the problem sets that may share a batch with it; empty if it is left out.
    """

    group: "TrainingGroup"
    frames: Tensor
    pool: str


class StreamSettings(NamedTuple):
    """Settings of a stream of batches, see `MiniTrainingDataModule`."""

    worlds: Sequence[str]
    groups: Mapping[str, Sequence[str]] | None
    labelled: float
    dropped: Sequence[str]
    sets: int
    videos: int
    first_chunks: int
    steps_per_chunk: int
    level_every: int
    max_level: int
    max_chunks: int
    seed: int
    draw_seed: int


class PairStream(IterableDataset[PairBatch]):
    """Endless batches from a growing store.

    Args:
        settings: Settings.
        encoder: Function that makes an encoder, called by each worker process.
        cache_dir: Folder that keeps problem sets; None for none.
        num_frames: Number of frames of each video.
        start: Number of the first batch.
    """

    def __init__(
        self,
        settings: StreamSettings,
        encoder: Callable[[], SetEncoder],
        cache_dir: str | None,
        num_frames: int,
        start: int,
    ) -> None:
        self.settings, self.encoder, self.cache_dir = settings, encoder, cache_dir
        self.num_frames, self.start = num_frames, start

    def __iter__(self) -> Iterator[PairBatch]:
        """Yield batches."""
        settings, worker = self.settings, get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        draws = (settings.draw_seed,) if settings.draw_seed else ()  # none with 0, as before there was this seed
        rng = np.random.default_rng([settings.seed, number, self.start, *draws])
        encoder = self.encoder()
        store: list[StoredSet] = []
        have = max(0, self._chunks_at(self.start) - settings.max_chunks)
        step = self.start
        while True:
            while have < self._chunks_at(step):
                new = self._chunk(have * workers + number, encoder)
                store = [*store, *new][-len(new) * settings.max_chunks :]
                have += 1
            yield self._draw(store, min(2 + step // settings.level_every, settings.max_level), rng)
            step += workers

    def _chunk(self, number: int, encoder: SetEncoder) -> list[StoredSet]:
        """Return a chunk of each world."""
        from lightning_vista.mini.training_groups import training_chunk

        settings = self.settings
        stored: list[StoredSet] = []
        for world in settings.worlds:
            chunk = training_chunk(number, self.num_frames, settings.seed, self.cache_dir, world)
            frames = encoder.encode_all(chunk, f"{world}-{settings.seed}-{number:05d}")
            drawn = np.random.default_rng([settings.seed, number, settings.draw_seed, _LABELS]).random(len(chunk))
            stored += map(self._stored, chunk, frames, drawn)
        return stored

    def _stored(self, group: "TrainingGroup", frames: Tensor, drawn: float) -> StoredSet:
        settings = self.settings
        if settings.groups is None:
            return StoredSet(group, frames, _EVERY)
        names = [name for name, types in settings.groups.items() if group.type in types]
        pool = "" if not names else names[0] if drawn < settings.labelled else UNLABELLED
        return StoredSet(group, frames, "" if pool in settings.dropped else pool)

    def _chunks_at(self, step: int) -> int:
        return self.settings.first_chunks + step // self.settings.steps_per_chunk

    def _draw(self, store: Sequence[StoredSet], level: int, rng: np.random.Generator) -> PairBatch:
        """Draw a batch of random problem sets up to a level, all of one pool."""
        fitting = [each for each in store if each.group.level <= level and each.pool]
        is_grouped = self.settings.groups is not None
        if is_grouped:
            pool = fitting[rng.integers(len(fitting))].pool
            fitting = [each for each in fitting if each.pool == pool]
        places = rng.choice(len(fitting), min(self.settings.sets, len(fitting)), replace=False)
        chosen = [fitting[place] for place in places]
        videos = [rng.permutation(len(each.group.answers))[: self.settings.videos] for each in chosen]
        swapped: Swapped = "permutation" if is_grouped else "all"
        return join_sets(
            [each.group for each in chosen],
            [each.frames for each in chosen],
            videos,
            swapped,
            is_labelled=chosen[0].pool != UNLABELLED,
        )


def join_sets(
    groups: Sequence["TrainingGroup"],
    frames: Sequence[Tensor],
    videos: Sequence[Any],
    swapped: Swapped = "none",
    is_labelled: bool = True,
) -> PairBatch:
    """Join videos of problem sets to a batch with all descriptions.

    Args:
        groups: The problem sets.
        frames: Frames or features of each one's videos.
        videos: Numbers of the videos to take of each.
        swapped: Problem sets to which descriptions of their videos with two steps exchanged are added.
        is_labelled: Whether the types of the problem sets are known.

    Returns:
        The batch.
    """
    texts: list[str] = []
    owners: list[int] = []
    answers: list[int] = []
    for number, (group, which) in enumerate(zip(groups, videos, strict=True)):
        own = list(group.texts)
        if swapped == "all" or (swapped == "permutation" and "/permutation" in group.type):
            others = dict.fromkeys(group.swapped[answer] for answer in group.answers[which])
            own += [text for text in others if text and text not in group.texts]
        answers += [len(texts) + int(answer) for answer in group.answers[which]]
        texts += own
        owners += [number] * len(own)
    types = [group.type if is_labelled else "" for group in groups]
    counts = torch.tensor([len(which) for which in videos])
    return PairBatch(
        frames=torch.cat([frame[torch.from_numpy(which)] for frame, which in zip(frames, videos, strict=True)]),
        video_groups=torch.arange(len(groups)).repeat_interleave(counts),
        answers=torch.tensor(answers),
        steps=torch.cat([torch.from_numpy(group.steps[which]) for group, which in zip(groups, videos, strict=True)]),
        texts=tuple(texts),
        text_groups=torch.tensor(owners),
        levels=torch.tensor([groups[number].level for number in owners]),
        video_types=tuple(type for type, which in zip(types, videos, strict=True) for _ in which),
        text_types=tuple(types[number] for number in owners),
    )


def join_all(sets: Sequence[tuple["TrainingGroup", Tensor]], swapped: Swapped = "none") -> PairBatch:
    """Join all videos of problem sets to a batch, see `join_sets`."""
    groups, frames = [group for group, _ in sets], [each for _, each in sets]
    return join_sets(groups, frames, [np.arange(len(group.answers)) for group in groups], swapped)

"""Heads that map features of frames and words of descriptions to one space, with three treatments of time."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from lightning_vista.routing.surgery import cut_branch
from lightning_vista.scorers.dual.head_modules import LayerModule, Stack, TimeModule
from lightning_vista.scorers.dual.texts import ClauseEncoder, SequenceEncoder

Head = Literal["mean", "temporal", "slot"]
MAX_CLAUSES = 8
_WIDTH, _DIM, _HIDDEN = 128, 256, 256
Places = Mapping[str, Callable[[], nn.Module]]
_TEXTS: Places = {"texts.transformer": partial(LayerModule, _WIDTH), "texts.project": partial(TimeModule, _DIM)}


class Embedded(NamedTuple):
    """Videos or texts in the common space.

    Attributes:
        whole: Embeddings for the dot product `(items, dim)`.
        parts: Frames of videos `(items, frames, width)`, or clauses of texts `(items, clauses, width)`.
        slots: One unit vector for each step `(items, 8, width)`; None for heads without slots.
    """

    whole: Tensor
    parts: Tensor
    slots: Tensor | None = None


class MeanHead(nn.Module):
    """The mean over separately encoded frames: an analogue of CLIP, blind to order.

    Args:
        features: Number of features of a frame.
        vocabulary: Words of descriptions.
        num_frames: Unused; the head takes any number of frames.
    """

    #: Parts that get modules on top, with the kind of module, see `add_modules`.
    PLACES: ClassVar[Places] = {"frames": partial(TimeModule, _DIM), **_TEXTS}

    def __init__(self, features: int, vocabulary: Sequence[str], num_frames: int) -> None:
        super().__init__()
        self.frames = nn.Sequential(nn.Linear(features, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _DIM))
        self.parts = nn.Linear(_DIM, _WIDTH)
        self.texts = SequenceEncoder(ClauseEncoder(vocabulary, _WIDTH), _WIDTH, _DIM, MAX_CLAUSES)

    def embed_videos(self, features: Tensor) -> Embedded:
        """Embed features `(videos, frames, features)`."""
        frames = self.frames(features)
        return Embedded(_unit(frames.mean(dim=1)), self.parts(frames))

    def embed_texts(self, texts: Sequence[str]) -> Embedded:
        """Embed descriptions."""
        whole, clauses, _ = self.texts(texts)
        return Embedded(_unit(whole), clauses)


class _Timeline(nn.Module):
    """A transformer over frames, each joined with its differences to its neighbours."""

    def __init__(self, features: int, num_frames: int, layers: int) -> None:
        super().__init__()
        self.project = nn.Linear(3 * features, _WIDTH)
        self.positions = nn.Parameter(0.1 * torch.randn(num_frames, _WIDTH))
        layer = nn.TransformerEncoderLayer(_WIDTH, 4, 3 * _WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(_WIDTH), enable_nested_tensor=False)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.transformer(self.project(_with_changes(features)) + self.positions)
        return result


class _Recurrence(nn.Module):
    """A recurrent network over frames, each joined with its differences to its neighbours; it soon counts steps."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(3 * features, _WIDTH), nn.GELU(), nn.LayerNorm(_WIDTH))
        self.network = nn.GRU(_WIDTH, _WIDTH, num_layers=2, batch_first=True)
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, features: Tensor) -> Tensor:
        frames = self.project(_with_changes(features))
        result: Tensor = self.norm(frames + self.network(frames)[0])
        return result


def _with_changes(features: Tensor) -> Tensor:
    """Append the differences to the frames before and after; returns `(videos, frames, 3 * features)`."""
    before = features - torch.cat([features[:, :1], features[:, :-1]], dim=1)
    after = torch.cat([features[:, 1:], features[:, -1:]], dim=1) - features
    return torch.cat([features, before, after], dim=2)


class TemporalHead(nn.Module):
    """A transformer over frames, followed by the mean: an analogue of ViCLIP.

    Args:
        features: Number of features of a frame.
        vocabulary: Words of descriptions.
        num_frames: Number of frames of a video.
        layers: Number of layers of the transformer.
    """

    #: Parts that get modules on top, with the kind of module, see `add_modules`.
    PLACES: ClassVar[Places] = {
        "timeline": partial(LayerModule, _WIDTH),
        "project": partial(TimeModule, _DIM),
        **_TEXTS,
    }

    def __init__(self, features: int, vocabulary: Sequence[str], num_frames: int, layers: int = 3) -> None:
        super().__init__()
        self.timeline = _Timeline(features, num_frames, layers)
        self.project = nn.Linear(_WIDTH, _DIM)
        self.parts = nn.Linear(_WIDTH, _WIDTH)
        self.texts = SequenceEncoder(ClauseEncoder(vocabulary, _WIDTH), _WIDTH, _DIM, MAX_CLAUSES)

    def embed_videos(self, features: Tensor) -> Embedded:
        """Embed features `(videos, frames, features)`."""
        frames = self.timeline(features)
        # The projection of the mean is the mean of projections, which named modules may change.
        return Embedded(_unit(self.project(frames).mean(dim=1)), self.parts(frames))

    def embed_texts(self, texts: Sequence[str]) -> Embedded:
        """Embed descriptions."""
        whole, clauses, _ = self.texts(texts)
        return Embedded(_unit(whole), clauses)


class SlotHead(nn.Module):
    """One slot for each step: a decoder queries the frames for the first step, the second, and so on.

    Args:
        features: Number of features of a frame.
        vocabulary: Words of descriptions.
        num_frames: Unused; the head takes any number of frames.
    """

    #: Parts that get modules on top, with the kind of module, see `add_modules`.
    PLACES: ClassVar[Places] = {"recurrence": partial(LayerModule, _WIDTH), "slots": partial(TimeModule, _WIDTH)}

    def __init__(self, features: int, vocabulary: Sequence[str], num_frames: int) -> None:
        super().__init__()
        self.recurrence = _Recurrence(features)
        self.queries = nn.Parameter(0.5 * torch.randn(MAX_CLAUSES, _WIDTH))
        layer = nn.TransformerDecoderLayer(_WIDTH, 4, 2 * _WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2, nn.LayerNorm(_WIDTH))
        self.slots = nn.Linear(_WIDTH, _WIDTH)
        self.parts = nn.Linear(_WIDTH, _WIDTH)
        self.clauses = ClauseEncoder(vocabulary, _WIDTH)
        self.steps = nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, _WIDTH))

    def embed_videos(self, features: Tensor) -> Embedded:
        """Embed features `(videos, frames, features)` as the concatenation of all slots."""
        frames = self.recurrence(features)
        asked = self.decoder(self.queries.expand(len(frames), -1, -1), frames)
        slots = _unit(self.slots(asked))
        return Embedded(slots.flatten(1), self.parts(frames), slots)

    def embed_texts(self, texts: Sequence[str]) -> Embedded:
        """Embed descriptions clause by clause, so that the dot product is the mean of the clauses' cosines."""
        clauses, is_there = self.clauses(texts)
        steps = _unit(self.steps(clauses))
        shares = steps * (is_there / is_there.sum(1, keepdim=True))[..., None]
        steps, shares = (pad(each, (0, 0, 0, MAX_CLAUSES - each.shape[1])) for each in (steps, shares))
        return Embedded(shares.flatten(1), clauses, steps)


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors of unit length, at least in float32: in half precision lengths differ by up to a percent."""
    return normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)


AnyHead = MeanHead | TemporalHead | SlotHead
HEADS: dict[Head, Callable[..., AnyHead]] = {
    "mean": MeanHead,
    "temporal": TemporalHead,
    "slot": SlotHead,
}


def add_modules(head: AnyHead, names: Sequence[str]) -> None:
    """Put named modules on top of parts of a head, in place.

    The part `<part>` becomes `<part>.old` and `<part>.<name>`, whose output is added. A temporal head gets a
    `LayerModule` for `timeline` and `texts.transformer`, and a `TimeModule` for `project` and `texts.project`; routes
    name them as `head.timeline.<name>` and so on. `cut_modules` removes a module.

    Args:
        head: The head.
        names: Names of the modules.

    Raises:
        ValueError: If a name is not an identifier, or taken.
    """
    for name in names:
        for place, make in head.PLACES.items():
            part = head.get_submodule(place)
            stack = part if isinstance(part, Stack) else Stack(part)
            if not name.isidentifier() or hasattr(stack, name):
                raise ValueError(f"`modules`: expected different identifiers that are not in use, got {name!r}.")
            stack.add_module(name, make())
            head.set_submodule(place, stack)


def cut_modules(head: AnyHead, names: Sequence[str]) -> None:
    """Remove named modules from a head, in place.

    Args:
        head: The head.
        names: Names of modules that `add_modules` made.

    Raises:
        ValueError: If the head has no such module.
    """
    for name in names:
        for place in head.PLACES:
            cut_branch(head, place, name)

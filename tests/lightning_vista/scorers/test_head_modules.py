"""Named modules inside a scorer: what trains them, and what is left when they are cut."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting
from lightning_vista.routing import LabelRule, ParameterRoute, Route
from lightning_vista.scorers import DualEncoderScorer
from lightning_vista.scorers.dual.heads import Head
from lightning_vista.scorers.dual.losses import PairBatch

WORDS = ["first", "we", "go", "to", "the", "red", "blue", "green", "door", "and", "then", "finally"]
TEXTS = (
    "First, we go to the red door, and then we go to the blue door",
    "First, we go to the blue door, and then we go to the red door",
)
GROUPS = {"order": ["home/permutation"], "rest": ["home/remix"]}
#: Parts on which each head puts modules.
PLACES = {
    "mean": ("frames", "texts.transformer", "texts.project"),
    "temporal": ("timeline", "project", "texts.transformer", "texts.project"),
    "slot": ("recurrence", "slots"),
}


def scorer(head: Head = "temporal", modules: Sequence[str] = ("order",), **options: Any) -> DualEncoderScorer:
    torch.manual_seed(0)
    return DualEncoderScorer(head, vocabulary=WORDS, size=32, num_frames=4, modules=modules, **options)


def pairs(kind: str, seed: int, sets: int = 2) -> PairBatch:
    features = torch.randn(2 * sets, 4, 192, generator=torch.Generator().manual_seed(seed))
    owners = torch.arange(sets).repeat_interleave(2)
    return PairBatch(
        frames=features,
        video_groups=owners,
        answers=torch.arange(2 * sets),
        steps=torch.tensor([[0, 0, 1, 1]] * 2 * sets),
        texts=TEXTS * sets,
        text_groups=owners,
        levels=torch.full((2 * sets,), 2),
        video_types=(kind,) * 2 * sets,
        text_types=(kind,) * 2 * sets,
    )


def held_still(head: Head) -> GradientRouting:
    """The routes of configs/vista/regions/order.yaml."""
    videos, texts = (LabelRule(field, GROUPS) for field in ("video_types", "text_types"))
    by_place = {place: texts if place.startswith("texts.") else videos for place in PLACES[head]}
    open_to_all = {group: {"order": 1.0} for group in GROUPS}
    routes = [
        Route(f"head.{place}.order", rule, {"order": "rest"}, weights=open_to_all, forward={"rest": ["order"]})
        for place, rule in by_place.items()
    ]
    names = [f"head.{place}.order.*" for place in by_place]
    held = [
        ParameterRoute(videos, {"order": 0.0}, exclude=names),
        ParameterRoute(videos, {"rest": 0.0}, parameters=names),
    ]
    return GradientRouting([*routes, *held])


class _Constant(DualEncoderScorer):
    """A scorer with a constant rate, so that a step more or less changes no other step."""

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], 1e-2, weight_decay=0.1)


def fit(model: L.LightningModule, batches: Sequence[PairBatch], *callbacks: L.Callback) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    loader: DataLoader[PairBatch] = DataLoader(batches, batch_size=None)  # type: ignore[arg-type] # a list is one
    trainer.fit(model.train(), loader, loader)


def embeddings(model: DualEncoderScorer) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model.embed_videos(pairs("", 5).frames), model.embed_texts(TEXTS)])


def _renamed(plain: DualEncoderScorer, head: Head) -> dict[str, torch.Tensor]:
    """The parameters of a head without modules by their names in one with modules."""
    found: dict[str, torch.Tensor] = {}
    for name, parameter in plain.named_parameters():
        place = next((f"head.{place}" for place in PLACES[head] if name.startswith(f"head.{place}.")), None)
        found[name if place is None else name.replace(f"{place}.", f"{place}.old.", 1)] = parameter
    return found


@pytest.mark.parametrize("head", get_args(Head))
def test_a_module_changes_what_a_head_says_and_cutting_it_restores_the_head(head: Head, tmp_path: Path) -> None:
    plain, whole = scorer(head, modules=()), scorer(head)
    whole.load_state_dict({**whole.state_dict(), **_renamed(plain, head)})
    assert not torch.allclose(embeddings(plain), embeddings(whole), atol=1e-3)
    whole.out = str(tmp_path / "weights.safetensors")
    fit(whole, [pairs("home/remix", seed) for seed in range(5)])
    cut = DualEncoderScorer(head, weights=whole.out, without=["order"])
    assert not any(".order." in name for name, _ in cut.named_parameters())
    # The same as a whole one whose modules return zero.
    handles = [
        whole.head.get_submodule(f"{place}.order").register_forward_hook(lambda *args: args[2] * 0)
        for place in PLACES[head]
    ]
    silenced = embeddings(whole)
    assert torch.allclose(embeddings(cut), silenced, atol=0.02)  # half precision
    for handle in handles:
        handle.remove()
    assert torch.allclose(embeddings(DualEncoderScorer(head, weights=whole.out)), embeddings(whole), atol=0.02)
    assert not torch.allclose(embeddings(whole), silenced, atol=0.02)


@pytest.mark.parametrize("head", get_args(Head))
def test_what_is_left_after_the_cut_never_saw_the_order(head: Head) -> None:
    """The oracle is a scorer without modules and without routing that skips the batches of order."""
    remixes = [pairs("home/remix", seed) for seed in (1, 2)]
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"vocabulary": WORDS, "size": 32, "num_frames": 4}
    filtered = _Constant(head, **arguments)
    torch.manual_seed(0)
    routed = _Constant(head, modules=["order"], **arguments)
    initial = {name: parameter.clone() for name, parameter in _renamed(filtered, head).items()}
    fit(filtered, remixes)
    fit(routed, [remixes[0], pairs("home/permutation", 3), remixes[1]], held_still(head))
    ours = dict(routed.named_parameters())
    assert any(not torch.equal(ours[name], parameter) for name, parameter in initial.items())
    for name, parameter in _renamed(filtered, head).items():
        assert torch.equal(ours[name], parameter), name


def test_permutation_sets_train_the_module_and_all_others_leave_it() -> None:
    model = scorer()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    fit(model, [pairs("home/remix", 1)], held_still("temporal"))
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert not any(".order." in name for name in moved)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    fit(model, [pairs("home/permutation", 2)], held_still("temporal"))
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert all(".order." in name for name in moved)


def test_unlabelled_sets_train_everything() -> None:
    model = scorer()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    fit(model, [pairs("", 1)], held_still("temporal"))
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert any(".order." in name for name in moved)
    assert any(".old." in name for name in moved)


def test_modules_need_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="`modules`: expected different identifiers that are not in use, got 'old'\\."):
        scorer(modules=["old"])
    with pytest.raises(ValueError, match="got 'a b'"):
        scorer(modules=["a b"])
    with pytest.raises(ValueError, match="got 'order'"):
        scorer(modules=["order", "order"])


def test_a_profile_names_modules_that_exist() -> None:
    with pytest.raises(ValueError, match="expected a module with a branch"):
        scorer(modules=(), without=["order"])

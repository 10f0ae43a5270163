import copy
from functools import partial
from itertools import pairwise

import pytest
import torch
from tiny_texts import Batch, NextToken, Texts
from torch.nn.functional import cross_entropy

from lightning_vista.models.curve import Curve, lowest
from lightning_vista.models.finetuning import finetune

DATA = Texts()
RETAIN = DATA.sample("train", False, 10)


def held_out() -> dict[str, Batch]:
    kinds = {"forget": True, "retain": False}
    return {kind: DATA.sample("validation", is_forget, 20) for kind, is_forget in kinds.items()}


def mean_by_token(model: NextToken, texts: Batch) -> torch.Tensor:
    """The mean loss, text by text and token by token."""
    losses = [
        cross_entropy(model.network(before), after)
        for row in texts["ids"]
        for before, after in pairwise(row)
        if after > 0
    ]
    return torch.stack(losses).mean()


def tuned(steps: int, rate: float = 0.01, **options: int | str) -> tuple[NextToken, Curve]:
    model = NextToken().double().eval()
    return model, finetune(model, RETAIN, held_out(), steps, rate, **options)  # type: ignore[arg-type] # of either kind


@pytest.mark.parametrize("batch_size", [3, 10])
def test_each_step_is_adamw_on_all_texts(batch_size: int) -> None:
    model, curve = tuned(6, evaluate_every=4, batch_size=batch_size)
    expected = NextToken().double().eval()
    optimizer = torch.optim.AdamW(expected.parameters(), 0.01)
    points = []
    for step in range(7):
        if step in (0, 4, 6):
            losses = {kind: float(mean_by_token(expected, texts).detach()) for kind, texts in held_out().items()}
            points.append({"step": step, **losses})
        optimizer.zero_grad()
        mean_by_token(expected, RETAIN).backward()
        if step < 6:
            optimizer.step()
    assert curve == [pytest.approx(point) for point in points]
    torch.testing.assert_close(dict(model.named_parameters()), dict(expected.named_parameters()))


def test_the_best_step_is_kept_bit_for_bit() -> None:
    model, curve = tuned(60, rate=0.1, keep_lowest="retain")
    best = int(lowest(curve, "retain")["step"])
    assert 0 < best < 60
    stopped, _ = tuned(best, rate=0.1)
    assert_same(model, stopped)
    last, _ = tuned(60, rate=0.1)
    assert not torch.equal(model.network[1].weight, last.network[1].weight)  # type: ignore[arg-type]


def test_no_step_may_be_the_best() -> None:
    model, curve = tuned(5, keep_lowest="forget")
    assert lowest(curve, "forget")["step"] == 0
    assert_same(model, NextToken().double())


def test_what_the_module_is_called_in_is_made_anew_for_each_call() -> None:
    model = NextToken().eval()
    half = partial(torch.autocast, "cpu", torch.bfloat16)  # it keeps weights in half precision until it is left
    curve = finetune(model, RETAIN, held_out(), 10, 0.02, 5, forward_context=half)
    with half():
        losses, mask = model.token_losses(held_out()["retain"])
    assert curve[-1]["retain"] == pytest.approx(float(losses[mask].detach().mean()))
    assert curve[-1]["retain"] < curve[1]["retain"] < curve[0]["retain"]


def test_held_out_texts_are_never_trained_on() -> None:
    model, _ = tuned(3)
    assert model.uses == {("train", True), ("validation", False)}


def test_what_is_frozen_stays() -> None:
    model = NextToken().eval()
    model.network[0].requires_grad_(False)
    before = copy.deepcopy(model)
    finetune(model, RETAIN, held_out(), 2, keep_lowest="retain")
    assert torch.equal(model.network[0].weight, before.network[0].weight)  # type: ignore[arg-type]
    assert not torch.equal(model.network[1].weight, before.network[1].weight)  # type: ignore[arg-type]


def assert_same(model: NextToken, other: NextToken) -> None:
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)

"""Units that a step may not train stay bit for bit, for any number of optimizers, backward passes and steps."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting
from lightning_vista.routing import LabelRule, Route, RoutingError

RULE = LabelRule("label", {"low": [0], "high": [1]})
REGIONS: dict[str, Any] = {"low": "0:3", "high": "rest"}
LOW, HIGH = slice(0, 3), slice(3, 8)
Strategy = Literal["gradient", "parameter", "activation"]


class Pair(L.LightningModule):
    """A generator and a critic with an optimizer each; `play` is the training step."""

    def __init__(self, play: Callable[["Pair", dict[str, Tensor], int], None]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
        self.critic = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.play = play

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.play(self, batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return [AdamW(net.parameters(), lr=0.1, weight_decay=0.1) for net in (self.generator, self.critic)]

    def make(self, batch: dict[str, Tensor]) -> Tensor:
        made: Tensor = self.critic(self.generator(batch["x"]))
        return made.square().mean()

    def judge(self, batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            fake = self.generator(batch["x"])
        judged: Tensor = self.critic(fake) - self.critic(batch["x"])
        return judged.square().mean()

    def step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class Watch(L.Callback):
    """The rows of both hidden layers before and after each step of an optimizer."""

    def __init__(self) -> None:
        self.moved: list[tuple[str, bool, bool]] = []

    def watch(self, name: str, layer: nn.Module, optimizer: Optimizer) -> None:
        weight = layer.get_parameter("weight")
        before = weight.detach().clone()

        def after(*_: object) -> None:
            changed = weight.detach() != before
            before.copy_(weight.detach())
            self.moved.append((name, bool(changed[LOW].any()), bool(changed[HIGH].any())))

        optimizer.register_step_post_hook(after)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, optimizer in zip(("generator", "critic"), trainer.optimizers, strict=True):
            self.watch(name, pl_module.get_submodule(f"{name}.0"), optimizer)


def batches(labels: Sequence[int]) -> DataLoader[Any]:
    torch.manual_seed(1)
    rows: Any = [{"x": torch.randn(4, 3), "label": torch.full((4,), label)} for label in labels]
    return DataLoader(rows, batch_size=None)


def trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    usual: dict[str, Any] = {"max_epochs": 1, "accelerator": "cpu", "enable_checkpointing": False}
    return L.Trainer(**usual, **quiet, **options, callbacks=list(callbacks))


def moves(
    play: Callable[[Pair, dict[str, Tensor], int], None], labels: Sequence[int], strategy: Strategy = "gradient"
) -> list[tuple[str, bool, bool]]:
    """For each step: which network's optimizer made it, and whether it moved its low and its high units."""
    routes = [Route(f"{name}.1", RULE, REGIONS) for name in ("generator", "critic")]
    # The watch comes last, so that it looks after isolation has restored what is blocked.
    watch = Watch()
    routing = GradientRouting(routes, isolate_optimizer=True, strategy=strategy)
    trainer(routing, watch).fit(Pair(play), batches(labels))
    return watch.moved


strategies = pytest.mark.parametrize("strategy", ["gradient", "parameter"])


@strategies
def test_both_optimizers_step_in_one_training_step(strategy: Strategy) -> None:
    def play(pair: Pair, batch: dict[str, Tensor], _: int) -> None:
        generator, critic = pair.optimizers()  # type: ignore[attr-defined]
        pair.step(critic, pair.judge(batch))
        pair.step(generator, pair.make(batch))

    expected = [(name, label == 0, label == 1) for label in (0, 1, 1, 0) for name in ("critic", "generator")]
    assert moves(play, (0, 1, 1, 0), strategy) == expected


@strategies
def test_optimizers_that_take_turns_know_their_own_batches(strategy: Strategy) -> None:
    """Every second batch is the critic's; batches of the other one do not count for it, though they reach it."""

    def play(pair: Pair, batch: dict[str, Tensor], number: int) -> None:
        generator, critic = pair.optimizers()  # type: ignore[attr-defined]
        if number % 2:
            pair.step(generator, pair.make(batch))
        else:
            pair.step(critic, pair.judge(batch))

    labels = (0, 1, 0, 1, 1, 0)
    expected = [(("critic", "generator")[number % 2], label == 0, label == 1) for number, label in enumerate(labels)]
    assert moves(play, labels, strategy) == expected


@strategies
def test_two_steps_follow_one_backward_pass(strategy: Strategy) -> None:
    def play(pair: Pair, batch: dict[str, Tensor], _: int) -> None:
        generator, critic = pair.optimizers()  # type: ignore[attr-defined]
        generator.zero_grad()
        critic.zero_grad()
        pair.manual_backward(pair.make(batch))
        for optimizer in (generator, critic, generator):
            optimizer.step()

    expected = [(name, label == 0, label == 1) for label in (0, 1, 1) for name in ("generator", "critic", "generator")]
    assert moves(play, (0, 1, 1), strategy) == expected


def test_gradients_that_two_steps_use_are_weighed_once() -> None:
    """Parameter masking by one half: steps must not halve the gradients again."""
    seen: list[Tensor] = []
    expected: list[Tensor] = []

    class Half(Pair):
        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(net.parameters(), lr=0.1) for net in (self.generator, self.critic)]

    def play(pair: Pair, batch: dict[str, Tensor], _: int) -> None:
        generator, critic = pair.optimizers()  # type: ignore[attr-defined]
        unrouted = copy.deepcopy(pair)
        unrouted.make(batch).backward()
        gradient = unrouted.generator[0].get_parameter("weight").grad
        assert gradient is not None
        expected.append(gradient / 2)
        pair.manual_backward(pair.make(batch))
        whole = pair.generator[0].get_parameter("weight").grad
        assert whole is not None
        seen.append(whole.clone())
        for optimizer in (generator, critic, generator):
            optimizer.step()
            seen.append(whole.clone())

    half = {"low": {"low": 0.5, "high": 0.5}}
    routes = [Route(f"{name}.1", RULE, REGIONS, weights=half) for name in ("generator", "critic")]
    trainer(GradientRouting(routes, strategy="parameter")).fit(Half(play), batches([0]))
    assert len(seen) == 4
    assert all(torch.equal(later, expected[0]) for later in seen)


@strategies
def test_backward_passes_add_up_until_the_optimizers_own_step(strategy: Strategy) -> None:
    """The critic steps after each batch, the generator after two; of both it knows that both regions were trained."""

    def play(pair: Pair, batch: dict[str, Tensor], number: int) -> None:
        generator, critic = pair.optimizers()  # type: ignore[attr-defined]
        pair.step(critic, pair.judge(batch))
        pair.manual_backward(pair.make(batch))
        if number % 2:
            generator.step()
            generator.zero_grad()

    labels = (1, 1, 0, 0) if strategy == "parameter" else (1, 1, 0, 1)
    moved = moves(play, labels, strategy)
    assert [step[1:] for step in moved if step[0] == "critic"] == [(label == 0, label == 1) for label in labels]
    both = (True, strategy == "gradient")
    assert [step[1:] for step in moved if step[0] == "generator"] == [(False, True), both]


def test_a_step_past_lightning_is_refused() -> None:
    def play(pair: Pair, batch: dict[str, Tensor], _: int) -> None:
        pair.manual_backward(pair.make(batch))
        pair.optimizers(use_pl_optimizer=False)[0].step()  # type: ignore[index]

    with pytest.raises(RoutingError, match=r"expected steps of Lightning's optimizers, got one of AdamW itself"):
        moves(play, [0])


class Single(L.LightningModule):
    """One network, one optimizer."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), activation, nn.Linear(8, 2))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        outputs: Tensor = self.net(batch["x"])
        return outputs.square().mean()

    def configure_optimizers(self) -> Optimizer:
        return AdamW(self.parameters(), lr=0.1, weight_decay=0.1)


class Snapshots(L.Callback):
    """The parameters and their optimizer state after each batch."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def take(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        optimizer, state = trainer.optimizers[0], {}
        for name, parameter in module.named_parameters():
            state[name] = parameter.detach().clone()
            for key in ("exp_avg", "exp_avg_sq"):
                kept = optimizer.state.get(parameter, {}).get(key, torch.zeros_like(parameter))
                state[f"{name}/{key}"] = kept.clone()
        self.states.append(state)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.take(trainer, pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        self.take(trainer, pl_module)


EVERYTHING = {group: {"low": 1.0, "high": 1.0} for group in ("low", "high")}


def same(states: list[dict[str, Tensor]], step: int, name: str, index: Any) -> bool:
    """Whether entries of a parameter, and their optimizer state, are the same before and after a step."""
    return all(
        torch.equal(states[step][key][index], states[step + 1][key][index])
        for key in states[step]
        if key.partition("/")[0] == name
    )


@pytest.mark.parametrize("strategy", ["gradient", "parameter", "activation"])
def test_units_that_are_zero_in_the_forward_pass_do_not_move(strategy: Strategy) -> None:
    """SGTM's retain steps: the weights let everything pass, but the other region is zero, and so are its gradients."""
    route = Route("net.1", RULE, REGIONS, weights=EVERYTHING, forward={"high": ["low"]})
    snapshots = Snapshots()
    routing = GradientRouting([route], strategy=strategy, isolate_optimizer=True)
    trainer(routing, snapshots).fit(Single(nn.Tanh()), batches([0, 1, 1, 0]))
    for step, label in enumerate((0, 1, 1, 0)):
        is_still = [
            same(snapshots.states, step, "net.0.weight", LOW),
            same(snapshots.states, step, "net.0.bias", LOW),
            same(snapshots.states, step, "net.2.weight", (slice(None), LOW)),
        ]
        assert is_still == [label == 1] * 3
        assert not same(snapshots.states, step, "net.0.weight", HIGH)
        assert not same(snapshots.states, step, "net.2.bias", slice(None))


def test_activation_masking_isolates_what_it_zeroes() -> None:
    snapshots = Snapshots()
    routing = GradientRouting([Route("net.1", RULE, REGIONS)], strategy="activation", isolate_optimizer=True)
    trainer(routing, snapshots).fit(Single(nn.Tanh()), batches([0, 1, 1]))
    for step, (still, moving) in enumerate([(HIGH, LOW), (LOW, HIGH), (LOW, HIGH)]):
        assert same(snapshots.states, step, "net.0.weight", still)
        assert same(snapshots.states, step, "net.2.weight", (slice(None), still))
        assert not same(snapshots.states, step, "net.0.weight", moving)


def test_readers_of_zeros_that_something_turns_into_values_are_trained() -> None:
    """A sigmoid makes one half of zero, from which its reader learns."""
    route = Route("net.0", RULE, REGIONS, weights=EVERYTHING, forward={"high": ["low"]})
    snapshots = Snapshots()
    trainer(GradientRouting([route], isolate_optimizer=True), snapshots).fit(Single(nn.Sigmoid()), batches([1, 1]))
    for step in (0, 1):
        assert same(snapshots.states, step, "net.0.weight", LOW)
        assert not same(snapshots.states, step, "net.2.weight", (slice(None), LOW))


def test_some_blocked_by_a_weight_and_others_by_zeros_are_blocked() -> None:
    weights = {"low": {"low": 1.0, "high": 0.0}, "high": {"low": 1.0, "high": 1.0}}
    route = Route("net.1", RULE, {"low": "0:3", "high": "rest"}, weights=weights, forward={"high": ["high"]})
    torch.manual_seed(1)
    rows: Any = [{"x": torch.randn(4, 3), "label": torch.tensor([0, 1, 0, 1])} for _ in range(2)]
    snapshots = Snapshots()
    routing = GradientRouting([route], isolate_optimizer=True)
    trainer(routing, snapshots).fit(Single(nn.Tanh()), DataLoader(rows, batch_size=None))
    assert all(same(snapshots.states, step, "net.0.weight", HIGH) for step in (0, 1))
    assert not same(snapshots.states, 0, "net.0.weight", LOW)


def test_layers_that_are_unfrozen_later_are_isolated() -> None:
    """As by Lightning's `BackboneFinetuning`: their parameters join the optimizer in a later epoch."""

    class Late(Single):
        def configure_optimizers(self) -> Optimizer:
            self.net[0].requires_grad_(False)
            return AdamW(self.net[2].parameters(), lr=0.1, weight_decay=0.1)

        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                self.net[0].requires_grad_()
                self.optimizers().optimizer.add_param_group({"params": list(self.net[0].parameters())})  # type: ignore[union-attr]

    snapshots = Snapshots()
    routing = GradientRouting([Route("net.1", RULE, REGIONS)], isolate_optimizer=True)
    model = Late(nn.Tanh())
    L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[routing, snapshots],
    ).fit(model, batches([1, 1]))  # fmt: skip
    assert all(same(snapshots.states, step, "net.0.weight", LOW) for step in range(4))
    assert [same(snapshots.states, step, "net.0.weight", HIGH) for step in range(4)] == [True, True, False, False]

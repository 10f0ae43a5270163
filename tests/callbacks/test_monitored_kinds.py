"""Gradients that unlabelled data leaves in each region, against one backward pass for each sample or batch."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import train_monitored
from lightning.pytorch.loggers import CSVLogger
from token_batches import Descending, batch_of
from token_batches import train as train_texts
from torch import Tensor
from train_monitored import KINDS, LAYER, UNITS, Still, batches, train

from lightning_vista.callbacks import GradientRouting, RoutingMonitor
from lightning_vista.routing import LabelRule, Route

REGIONS = (slice(0, 3), slice(3, 8))


def by_sample(parts: int) -> tuple[Tensor, Tensor]:
    """Energies `(low, high, unlabelled low, unlabelled high; regions)` behind the mask, and numbers of samples."""
    model, energies, amounts = Still(), torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for batch in batches():
        for x, label, truth in zip(*batch.values(), strict=True):
            hidden = model.encoder[1](model.encoder[0](x)).detach().requires_grad_()
            (model.encoder[2](hidden).square().sum() / (4 * 2) / parts).backward()
            assert hidden.grad is not None
            row = int(label) if label >= 0 else 2 + int(truth)
            amounts[row] += 1
            for number, units in enumerate(REGIONS):
                if label in (-1, number):
                    energies[row, number] += hidden.grad[units].double().square().sum()
    return energies, amounts


def by_batch(parts: int) -> tuple[Tensor, Tensor]:
    """Energies of the parameters that make the units, and of the last layer and all others, `(kinds, regions)`."""
    units, layers = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    for kind, batch in enumerate(batches()[1:3]):
        model = Still()
        (model.loss(batch) / parts).backward()
        gradients = {name: p.grad.double().square() for name, p in model.named_parameters() if p.grad is not None}
        for number, rows in enumerate(REGIONS):
            units[kind, number] = sum(gradients[f"encoder.0.{name}"][rows].sum() for name in ("weight", "bias"))
            layers[kind, number] = sum(gradients[f"encoder.{2 - 2 * number}.{n}"].sum() for n in ("weight", "bias"))
    return units, layers


def assert_sums(sums: Any, parts: int) -> None:
    """Compare all sums with slow ones."""
    energies, amounts = by_sample(parts)
    units, layers = by_batch(parts)
    assert set(sums) == {"encoder.1", "encoder.1.parameters", "parameters"}
    torch.testing.assert_close(sums["encoder.1"][0], energies, rtol=1e-5, atol=1e-12)
    assert torch.equal(sums["encoder.1"][1], amounts)
    torch.testing.assert_close(sums["encoder.1.parameters"][0], units, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(sums["parameters"][0], layers, rtol=1e-5, atol=1e-12)
    for name in ("encoder.1.parameters", "parameters"):
        assert sums[name][1].tolist() == [1, 1]


@pytest.mark.parametrize("accumulated", [1, 3, 6])
def test_sums_are_those_of_single_samples_and_batches(tmp_path: Path, accumulated: int) -> None:
    monitor = RoutingMonitor(every_n_steps=1, kinds=KINDS)
    model = train(monitor, accumulated, default_root_dir=tmp_path)
    assert monitor.num_steps == 6 // accumulated
    assert_sums(monitor.sums, accumulated)
    assert not any(parameter._backward_hooks for parameter in model.parameters())


@pytest.mark.parametrize("strategy", ["parameter", "activation"])
def test_other_strategies_are_measured_by_parameters(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_monitored, "batches", lambda: batches()[1:3])  # SGTM's masks need batches of one group
    monitor = RoutingMonitor(every_n_steps=1, kinds=KINDS)
    train(monitor, routes=[UNITS], by=strategy, default_root_dir=tmp_path)
    assert set(monitor.sums) == {"encoder.1.parameters"}
    torch.testing.assert_close(monitor.energies["encoder.1.parameters"], by_batch(1)[0], rtol=1e-5, atol=1e-12)


def test_what_is_written_and_logged(tmp_path: Path) -> None:
    monitor = RoutingMonitor(every_n_steps=1, kinds=KINDS)
    train(monitor, 2, logger=CSVLogger(tmp_path))
    folder = tmp_path / "lightning_logs" / "version_0"
    with (folder / "routing.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["module"], row["group"], row["region"]): row for row in csv.DictReader(file)}
    energies, amounts = by_sample(2)
    row = rows["encoder.1", "unlabelled low", "high"]
    assert float(row["norm"]) == pytest.approx(float(energies[2, 1] / amounts[2]) ** 0.5, rel=1e-5)
    assert float(row["share"]) == pytest.approx(float(energies[2, 1] / energies[2].sum()), rel=1e-5)
    assert ("parameters", "unlabelled high", "rest") in rows
    pictures = {path.name for path in (folder / "routing").glob("*.png")}
    assert pictures == {"encoder.1.png", "encoder.1.parameters.png", "parameters.png"}
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        logged = [row["routing/encoder.1.parameters/unlabelled low/high/norm"] for row in csv.DictReader(file)]
    assert float(next(filter(None, logged))) == pytest.approx(float(by_batch(2)[0][0, 1]) ** 0.5, rel=1e-5)
    assert len(list(filter(None, logged))) == 1  # only the first step had such a batch


def test_kinds_that_no_batch_has_have_no_norm(tmp_path: Path) -> None:
    monitor = RoutingMonitor(every_n_steps=1, kinds=LabelRule("truth", {"other": [7]}))
    train(monitor, 3, default_root_dir=tmp_path)
    with (tmp_path / "routing.csv").open(encoding="utf-8", newline="") as file:
        norms = {row["norm"] for row in csv.DictReader(file) if row["group"] == "unlabelled other"}
    assert norms == {""}


def test_a_resumed_run_continues_its_sums(tmp_path: Path) -> None:
    first, second, whole = (RoutingMonitor(every_n_steps=1, kinds=KINDS) for _ in range(3))
    train(first, 3, default_root_dir=tmp_path)
    second.load_state_dict(first.state_dict())
    train(second, 3, default_root_dir=tmp_path)
    train(whole, 3, default_root_dir=tmp_path, max_epochs=2)
    assert (second.num_steps, whole.num_steps) == (4, 4)
    for name, (energies, amounts) in whole.sums.items():
        assert torch.equal(second.sums[name].energies, energies)
        assert torch.equal(second.sums[name].amounts, amounts)


def test_routes_of_parameters_alone_need_kinds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got routes of parameters alone. Set `kinds`"):
        train(RoutingMonitor(), routes=[LAYER], default_root_dir=tmp_path)


def test_a_language_models_weights_of_batches_are_taken_into_account(tmp_path: Path) -> None:
    def energies(rows: list[list[int]], accumulated: int) -> Tensor:
        rule = LabelRule("is_forget", {"forget": [1]})
        routing = GradientRouting([Route("model.transformer.h.0.mlp.act", rule, {"forget": "0:4", "rest": "rest"})])
        monitor = RoutingMonitor(every_n_steps=1, kinds=LabelRule("truth", {"all": [0]}))
        labels = {"is_forget": torch.tensor([1, 0, 0]), "truth": torch.zeros(3)}
        split = [batch_of(chosen) | {name: value[chosen] for name, value in labels.items()} for chosen in rows]
        options: dict[str, Any] = {"accumulate_grad_batches": accumulated, "default_root_dir": tmp_path}
        train_texts(split, Descending(), callbacks=[monitor, routing], **options)
        return monitor.energies["model.transformer.h.0.mlp.act"]

    whole = energies([[0, 1, 2]], 1)
    assert (whole > 0).sum() == 3
    torch.testing.assert_close(energies([[0], [1, 2]], 2), whole, rtol=1e-4, atol=0)


@pytest.mark.slow
def test_two_processes_sum_what_one_sums(tmp_path: Path) -> None:
    out = tmp_path / "sums"
    script = str(Path(train_monitored.__file__))
    subprocess.run([sys.executable, script, "2", str(out)], check=True, timeout=300, cwd=tmp_path)
    for rank in range(2):
        state = torch.load(f"{out}.{rank}", weights_only=True)
        assert_sums({name: (state["energies"][name], state["amounts"][name]) for name in state["energies"]}, parts=6)

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from rich.console import Console
from routed_run import RULE, Batches, Regression, make_trainer, routing
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting, RoutingCheck
from lightning_vista.cli import main
from lightning_vista.routing import LabelRule, Route, RoutingError, TokenRule

ROUTE = {
    "module": "encoder.1",
    "rule": {
        "class_path": "lightning_vista.routing.LabelRule",
        "init_args": {"field": "label", "groups": {"low": [0], "high": [1]}},
    },
    "regions": {"low": "0:3", "high": "rest"},
}


def check(model: L.LightningModule, *callbacks: L.Callback, **options: Any) -> RoutingCheck:
    found = RoutingCheck()
    make_trainer(*callbacks, found, **options).fit(model, Batches())
    return found


class Leaking(Regression):
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + self.get_parameter("encoder.0.bias").sum()


class OnlyHigh(Batches):
    def batches(self, count: int, seed: int) -> Any:
        loader: Any = super().batches(count, seed)
        for batch in loader.dataset:
            batch["label"] = torch.ones(5, dtype=torch.long)
        return loader


def test_it_finds_what_groups_reach_and_trains_nothing() -> None:
    class Watched(Regression):
        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            raise AssertionError("a step was made")

    model = Watched()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = check(model, routing(warmup_steps=10))
    assert found.reached == {
        "encoder.0.weight": {"low": 0.375, "high": 0.625},
        "encoder.0.bias": {"low": 0.375, "high": 0.625},
        "encoder.2.weight": {"low": 1.0, "high": 1.0},
        "encoder.2.bias": {"low": 1.0, "high": 1.0},
    }
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.encoder[1]._forward_hooks


def test_nothing_is_logged_and_logging_works_afterwards() -> None:
    model = Regression()
    trainer = make_trainer(routing(), RoutingCheck())
    trainer.fit(model, Batches())
    assert not trainer.callback_metrics
    assert not {"log", "log_dict"} & set(vars(model))
    (figures,) = make_trainer().test(model, Batches(), verbose=False)
    assert "test/loss" in figures


def test_masks_are_checked_in_full_whatever_their_warmup() -> None:
    with pytest.raises(RoutingError, match="encoder.0.bias got a gradient"):
        make_trainer(routing(warmup_steps=10), RoutingCheck()).fit(Leaking(), OnlyHigh())


def test_the_checks_are_those_of_fit() -> None:
    with pytest.raises(RoutingError, match="encoder.0.bias got a gradient"):
        make_trainer(routing(), RoutingCheck()).fit(Leaking(), OnlyHigh())


def test_manual_optimisation_is_refused() -> None:
    model = Regression()
    model.automatic_optimization = False
    with pytest.raises(ValueError, match="got Regression, which optimizes manually"):
        check(model, routing())


def test_the_table_names_what_is_not_trained_by_all_and_counts_the_rest() -> None:
    console = Console(width=100, record=True)
    console.print(check(Regression(), routing()).table())
    text = console.export_text()
    assert all(part in text for part in ("encoder.0.weight", "38%", "62%"))
    assert "encoder.2" not in text
    assert "2 other parameters are fully" in text


def test_the_command_prints_the_table_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    callbacks = [
        {"class_path": "lightning_vista.callbacks.GradientRouting", "init_args": {"routes": [ROUTE]}},
        {"class_path": LearningRateMonitor.__module__ + ".LearningRateMonitor"},
        {"class_path": ModelCheckpoint.__module__ + ".ModelCheckpoint"},
        {"class_path": "lightning_vista.callbacks.RoutingMonitor"},
    ]
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "logs"}}
    config: dict[str, Any] = {
        "model": {"class_path": "routed_run.Regression"},
        "data": {"class_path": "routed_run.Batches"},
        "trainer": {"callbacks": callbacks, "logger": logger, "accelerator": "cpu", "enable_model_summary": False},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["routing", "check", "--config", "config.yaml", "--trainer.enable_progress_bar", "false"])
    words = " ".join(capsys.readouterr().out.split())
    assert "encoder.0.weight" in words
    assert "Samples or tokens of each group in 4 batches" in words
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    del config["trainer"]["callbacks"][0]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(SystemExit, match="lightning-vista: .*: expected a GradientRouting callback"):
        main(["routing", "check", "--config", "config.yaml"])


def printed(table: Any) -> str:
    console = Console(width=140, record=True)
    console.print(table)
    return console.export_text()


@pytest.mark.parametrize(
    ("weights", "cells"),
    [
        ({"low": {"low": -0.2, "high": -0.2}, "high": {"low": 1.0, "high": 1.0}}, ["-20%", "100%"]),
        ({"low": {"low": 0.5, "high": 0.5}, "high": {"low": 1.0, "high": 1.0}}, ["50%", "100%"]),
        ({"low": {"low": 1.0, "high": -0.2}, "high": {"low": 0.0, "high": 1.0}}, ["38%, 62% by -20%", "62%"]),
        ({"low": {"low": 1.0, "high": 0.0}, "high": {"low": -1.0, "high": 0.5}}, ["38%", "62% by 50%, 38% by -100%"]),
    ],
)
def test_weights_other_than_zero_and_one_are_shown(weights: dict[str, dict[str, float]], cells: list[str]) -> None:
    route = Route("encoder.1", RULE, {"low": "0:3", "high": "rest"}, weights=weights)
    found = check(Regression(), GradientRouting([route]))
    row = next(line for line in printed(found.table()).splitlines() if "encoder.0.bias" in line)
    assert [cell.strip() for cell in row.replace("│", "|").strip(" |").split("|")] == ["encoder.0.bias", *cells]


def test_factors_reach_through_layers_and_routes() -> None:
    """Everything before a route is trained by its factor, and before two of them by the product."""
    half = {"low": {"low": 0.5, "high": 0.5}, "high": {"low": 1.0, "high": 1.0}}
    routes = [Route(f"encoder.{n}", RULE, {"low": "0:1", "high": "rest"}, weights=half) for n in (1, 2)]
    found = check(Regression(), GradientRouting(routes))
    assert {name: groups["low"] for name, groups in found.factors.items()} == {
        "encoder.0.weight": {0.25: 1.0}, "encoder.0.bias": {0.25: 1.0},
        "encoder.2.weight": {0.5: 1.0}, "encoder.2.bias": {0.5: 1.0},
    }  # fmt: skip


def test_groups_are_counted_in_real_batches(caplog: pytest.LogCaptureFixture) -> None:
    found = check(Regression(), routing())
    assert found.occurrences == [("encoder.1", {"low": 8, "high": 12})]
    assert "never" not in printed(found.occurrence_table()) + caplog.text
    rule = LabelRule("label", {"low": [0], "high": [10]})
    route = Route("encoder.1", rule, {"low": "0:3", "high": "rest"})
    found = RoutingCheck(num_batches=3)
    make_trainer(GradientRouting([route]), found).fit(Regression(), Batches())
    assert found.occurrences == [("encoder.1", {"low": 6, "high": 0})]
    assert "0: never" in printed(found.occurrence_table())
    assert "the first 3 batches had no data of these groups" in caplog.text
    assert "route 0 (encoder.1): 'high' never occurred. Values of 'label' were 0, 1." in caplog.text
    with pytest.raises(ValueError, match="`num_batches`: expected at least 1, got 0"):
        RoutingCheck(num_batches=0)


class Flattening(L.LightningModule):
    """A language model whose layers see a matrix of all tokens, and a head that sees samples."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.net, self.head = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 6), torch.nn.Linear(6, 2)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        x: Tensor = self.embedding(batch["input_ids"])
        hidden = self.net(x.flatten(0, 1)).view(*x.shape[:2], -1)
        return self.head(hidden.mean(1)).square().sum()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_rules_of_tokens_and_of_samples_are_checked_as_fit_routes_them() -> None:
    """Tokens on a matrix of all tokens, samples on a matrix of samples, with the same groups in both."""
    groups = {"a": [1, 2], "b": [0, 3, 4]}
    routing = GradientRouting(
        [
            Route("net", TokenRule(groups), {"a": "0:2", "b": "rest"}),
            Route("head", LabelRule("label", groups), {"a": "0:1", "b": "rest"}),
        ]
    )
    data = [{"input_ids": torch.arange(5) % 4 + 1, "label": torch.tensor(i % 2)} for i in range(8)]
    found = RoutingCheck()
    loader: Any = DataLoader(data, batch_size=4)  # type: ignore[arg-type]
    make_trainer(routing, found, max_steps=1).fit(Flattening(), loader)
    assert found.reached["net.bias"] == {"a": pytest.approx(1 / 3), "b": pytest.approx(2 / 3)}
    assert found.reached["head.bias"] == {"a": pytest.approx(1 / 2), "b": pytest.approx(1 / 2)}

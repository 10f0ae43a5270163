from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from routed_run import ROUTE, RULE, Batches, Regression, make_trainer, routing
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.callbacks import Ablation
from lightning_vista.routing import Route, UnknownStructureError
from lightning_vista.routing.surgery import AblationMode

LOW = slice(0, 3)


def hidden(model: Regression, batch: dict[str, Tensor]) -> Tensor:
    units: Tensor = model.encoder[1](model.encoder[0](batch["x"]))
    return units


def expected_loss(model: Regression, low: Tensor | float) -> float:
    """The loss on the test batch with the low region set to something."""
    (batch,) = Batches().test_dataloader()
    with torch.no_grad():
        units = hidden(model, batch)
        units[:, LOW] = low
        return float(model.encoder[2](units).square().mean())


def mean_of_validation(model: Regression) -> Tensor:
    with torch.no_grad():
        return torch.cat([hidden(model, batch) for batch in Batches().val_dataloader()]).mean(0)


def loss_of(model: L.LightningModule, *callbacks: L.Callback, checkpoint: Path | None = None) -> float:
    (figures,) = make_trainer(*callbacks).test(model, Batches(), ckpt_path=checkpoint, verbose=False)
    return float(figures["test/loss"])


def test_a_region_is_zero_while_testing_and_only_then() -> None:
    model = Regression()
    plain = loss_of(model, routing())
    assert loss_of(model, routing(), Ablation(["low"])) == pytest.approx(expected_loss(model, low=0))
    assert loss_of(model, Ablation(["low"], routes=[ROUTE])) == pytest.approx(expected_loss(model, low=0))
    assert loss_of(model, routing()) == plain != pytest.approx(expected_loss(model, low=0))
    assert not model.encoder[1]._forward_hooks


def test_a_routed_input_is_ablated_too() -> None:
    model = Regression()
    route = Route("encoder.2", RULE, {"low": "0:3", "high": "rest"}, at="input")
    assert loss_of(model, Ablation(["low"], routes=[route])) == pytest.approx(expected_loss(model, low=0))


def test_the_mean_of_the_last_validation_comes_with_the_checkpoint(tmp_path: Path) -> None:
    model = Regression()
    trainer = make_trainer(routing(), Ablation(["low"], mode="mean"), max_epochs=2)
    trainer.fit(model, Batches())
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    ablation, fresh = Ablation(["low"], mode="mean"), Regression()
    found = loss_of(fresh, routing(), ablation, checkpoint=tmp_path / "trained.ckpt")
    means = mean_of_validation(model)
    torch.testing.assert_close(ablation.means["encoder.1:output"].float(), means)
    assert found == pytest.approx(expected_loss(model, means[LOW]))


def test_channels_have_one_mean_each() -> None:
    class Convolution(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 3, 1)

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.layer(batch)

    ablation = Ablation(["low"], mode="mean", routes=[Route("layer", RULE, {"low": "0:1", "high": "rest"}, dim=1)])
    model, images = Convolution(), torch.randn(4, 1, 5, 5)
    make_trainer(ablation).validate(model, DataLoader(images, batch_size=3), verbose=False)  # type: ignore[arg-type]
    torch.testing.assert_close(ablation.means["layer:output"].float(), model.layer(images).mean((0, 2, 3)).detach())


def test_without_means_it_says_where_they_come_from() -> None:
    with pytest.raises(ValueError, match=r"expected means of \['encoder.1:output'\], got none. Test a checkpoint"):
        loss_of(Regression(), routing(), Ablation(["low"], mode="mean"))


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="`regions`, `adapters`: expected at least one region or adapter"):
        Ablation([])
    with pytest.raises(ValueError, match="for at='test', got 'slice'"):
        Ablation(["low"], mode="slice")
    with pytest.raises(ValueError, match=r"regions of the routes, \['high', 'low'\], got \['lwo'\]"):
        loss_of(Regression(), routing(), Ablation(["lwo"]))
    with pytest.raises(ValueError, match="Ablation: expected a GradientRouting callback"):
        loss_of(Regression(), Ablation(["low"]))


def test_a_module_that_testing_does_not_call_is_an_error() -> None:
    class Bypassing(Regression):
        def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
            self.log("test/loss", torch.tensor(0.0))

    model = Bypassing()
    with pytest.raises(ValueError, match="the first batch to call .*'encoder.1:output'.*, got no call"):
        loss_of(model, routing(), Ablation(["low"]))
    assert not model.encoder[1]._forward_hooks


@pytest.mark.parametrize("mode", ["zero", "slice", "mean"])
def test_the_end_of_training_writes_an_ablated_checkpoint(tmp_path: Path, mode: AblationMode) -> None:
    model = Regression()
    trainer = make_trainer(routing(), Ablation(["low"], at="end", mode=mode), logger=CSVLogger(tmp_path))
    trainer.fit(model, Batches())
    path = tmp_path / "lightning_logs" / "version_0" / "ablated.ckpt"
    fresh = Regression()
    if mode == "slice":
        fresh.encoder[0], fresh.encoder[2] = torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)
    low = mean_of_validation(model)[LOW] if mode == "mean" else 0
    assert loss_of(fresh, checkpoint=path) == pytest.approx(expected_loss(model, low))
    assert loss_of(model) != pytest.approx(expected_loss(model, low))  # the model in memory is whole
    assert model.encoder[0].weight[LOW].all()  # type: ignore[index]


def test_what_cannot_be_ablated_at_the_end_is_told_at_the_start() -> None:
    class Untrained(Regression):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            raise AssertionError("a step was trained")

    route = Route("encoder.2", RULE, {"low": "0:1", "high": "rest"})
    with pytest.raises(UnknownStructureError, match="the parameters that read the units are not known"):
        make_trainer(Ablation(["low"], at="end", routes=[route])).fit(Untrained(), Batches())


def test_a_transformers_model_is_written_for_transformers(tmp_path: Path) -> None:
    from routing_oracles import gpt_neo
    from transformers import GPTNeoForCausalLM

    class Causal(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.subject = gpt_neo()
            self.network = self.subject.model

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.subject.loss(self.subject.inputs)

        def train_dataloader(self) -> Any:
            return DataLoader(torch.zeros(1), batch_size=1)  # type: ignore[arg-type]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    model = Causal()
    route = Route("network.transformer.h.*.mlp.act", RULE, {"low": "0:3", "high": "rest"})
    ablation = Ablation(["low"], at="end", mode="slice", routes=[route])
    make_trainer(ablation, default_root_dir=tmp_path).fit(model)
    loaded = GPTNeoForCausalLM.from_pretrained(tmp_path / "ablated", dtype=torch.float64)
    assert loaded.get_parameter("transformer.h.0.mlp.c_fc.weight").shape == (61, 16)
    assert model.network.get_parameter("transformer.h.0.mlp.c_fc.weight").shape == (64, 16)
    for block in model.network.get_submodule("transformer.h").children():
        block.get_parameter("mlp.c_fc.weight").data[LOW] = 0
        block.get_parameter("mlp.c_fc.bias").data[LOW] = 0
    inputs = model.subject.inputs
    torch.testing.assert_close(loaded(inputs).logits, model.network(inputs).logits)

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from routed_run import ROUTE, Batches, Regression, make_trainer, routing
from torch import Tensor
from torch.utils.data import DataLoader
from wandb_runs import offline_runs, summary, table

from lightning_vista.callbacks import GradientRouting, RoutingMonitor


def by_hand(weights: dict[str, Tensor], mask: bool) -> Tensor:
    """The energies `(groups, regions)` of the first batch, one sample at a time."""
    model = Regression()
    model.load_state_dict(weights)
    batch = next(iter(Batches().train_dataloader()))
    energies = torch.zeros(2, 2, dtype=torch.float64)
    for x, label in zip(batch["x"], batch["label"].tolist(), strict=True):
        hidden = model.encoder[1](model.encoder[0](x)).detach().requires_grad_()
        (model.encoder[2](hidden).square().sum() / (5 * 2)).backward()
        assert hidden.grad is not None
        for region, units in enumerate((slice(0, 3), slice(3, 8))):
            if region == label or not mask:
                energies[label, region] += hidden.grad[units].double().square().sum()
    return energies


@pytest.mark.parametrize("mask_weight", [1.0, 0.0])
@pytest.mark.parametrize("monitor_first", [True, False])
def test_energies_are_those_of_single_samples(tmp_path: Path, mask_weight: float, monitor_first: bool) -> None:
    model, monitor = Regression(), RoutingMonitor()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    callbacks = [monitor, routing(mask_weight=mask_weight)]
    trainer = make_trainer(*(callbacks if monitor_first else callbacks[::-1]), default_root_dir=tmp_path)
    trainer.fit(model, Batches())
    assert monitor.num_steps == 1
    torch.testing.assert_close(monitor.energies["encoder.1"], by_hand(weights, mask=mask_weight == 1))
    torch.testing.assert_close(monitor.before["encoder.1"], by_hand(weights, mask=False))
    shares = [trainer.callback_metrics[f"routing/encoder.1/low/{region}"] for region in ("low", "high")]
    assert sum(shares) == pytest.approx(1)
    assert (shares[1] == 0) == (mask_weight == 1)


def test_what_is_written_without_a_logger(tmp_path: Path) -> None:
    monitor = RoutingMonitor(every_n_steps=2)
    make_trainer(monitor, routing(), default_root_dir=tmp_path).fit(Regression(), Batches())
    assert monitor.num_steps == 2
    with (tmp_path / "routing.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["module"], row["group"], row["region"], float(row["share"])) for row in rows] == [
        ("encoder.1", group, region, float(group == region)) for group in ("low", "high") for region in ("low", "high")
    ]
    energies = torch.tensor([float(row["energy"]) for row in rows], dtype=torch.float64)
    assert torch.equal(energies.view(2, 2), monitor.energies["encoder.1"])
    before = monitor.before["encoder.1"]
    assert [float(row["share_before"]) for row in rows] == pytest.approx((before / before.sum(1, True)).flatten())
    with (tmp_path / "routing_steps.csv").open(encoding="utf-8", newline="") as file:
        steps = list(csv.DictReader(file))
    assert [int(row["step"]) for row in steps] == [1] * 4 + [3] * 4
    assert [float(row["share"]) for row in steps] == [1, 0, 0, 1] * 2
    assert all(0 < float(row["share_before"]) < 1 for row in steps)
    assert {path.name for path in (tmp_path / "routing" / "encoder.1").iterdir()} == {
        "before_mask.png", "behind_mask.png",
    }  # fmt: skip
    with Image.open(tmp_path / "routing" / "encoder.1.png") as picture:
        colours = {colour for _, colour in picture.getcolors(100_000) or []}
    assert {(23, 78, 134), (245, 245, 245)} <= colours  # full and empty cells


def test_tables_need_no_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    make_trainer(RoutingMonitor(), routing(), default_root_dir=tmp_path).fit(Regression(), Batches())
    assert "pip install 'lightning-vista[plots]'" in caplog.text
    assert (tmp_path / "routing.csv").read_text(encoding="utf-8").count("\n") == 1 + 4
    assert not list(tmp_path.rglob("*.png"))


def test_without_the_packages_of_pictures_the_table_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lightning_vista.callbacks.routing_monitor.is_installed", lambda *packages: False)
    make_trainer(RoutingMonitor(), routing(), default_root_dir=tmp_path).fit(Regression(), Batches())
    assert (tmp_path / "routing.csv").exists()
    assert not (tmp_path / "routing").exists()
    assert "pip install 'lightning-vista[plots]'" in caplog.text


def test_all_batches_of_an_optimizer_step_count(tmp_path: Path) -> None:
    whole, halves = RoutingMonitor(), RoutingMonitor()
    make_trainer(whole, routing(), default_root_dir=tmp_path, limit_train_batches=1).fit(Regression(), Batches())
    trainer = make_trainer(halves, routing(), default_root_dir=tmp_path, accumulate_grad_batches=4)
    trainer.fit(Regression(), Batches())
    assert halves.num_steps == 1
    assert trainer.global_step == 1
    model = Regression()
    expected = torch.zeros(2, 2, dtype=torch.float64)
    for batch in Batches().train_dataloader():
        hidden = model.encoder[1](model.encoder[0](batch["x"])).detach().requires_grad_()
        (model.encoder[2](hidden).square().mean() / 4).backward()
        assert hidden.grad is not None
        for region, units in enumerate((slice(0, 3), slice(3, 8))):
            expected[region, region] += hidden.grad[batch["label"] == region, units].double().square().sum()
    torch.testing.assert_close(halves.energies["encoder.1"], expected)


def test_the_scale_of_mixed_precision_is_taken_out(tmp_path: Path) -> None:
    plain, scaled = RoutingMonitor(), RoutingMonitor()
    make_trainer(plain, routing(), default_root_dir=tmp_path, limit_train_batches=1).fit(Regression(), Batches())

    class Scaled(Regression):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * 1024  # as a gradient scaler does

    trainer = make_trainer(scaled, routing(), default_root_dir=tmp_path, limit_train_batches=1)
    trainer.precision_plugin.scaler = SimpleNamespace(get_scale=lambda: 1024.0)  # type: ignore[attr-defined]
    trainer.fit(Scaled(), Batches())
    torch.testing.assert_close(scaled.energies["encoder.1"], plain.energies["encoder.1"])


def test_steps_with_infinite_gradients_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Overflowing(Regression):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * (1e30 if batch_idx == 0 else 1)

        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            self.trainer.optimizers[0].param_groups[0]["lr"] = 0.0
            super().optimizer_step(*args, **kwargs)

    monitor = RoutingMonitor(every_n_steps=1)
    make_trainer(monitor, routing(), default_root_dir=tmp_path).fit(Overflowing(), Batches())
    assert (monitor.num_steps, monitor.num_left_out) == (3, 1)
    assert monitor.energies["encoder.1"].isfinite().all()
    assert "left out 1 steps" in caplog.text


def test_a_group_without_data_has_no_share(tmp_path: Path) -> None:
    class OnlyLow(Batches):
        def train_dataloader(self) -> Any:
            return DataLoader(cast(Any, [{"x": torch.ones(2, 3), "label": torch.tensor([0, 0])}]), batch_size=None)

    monitor = RoutingMonitor()
    trainer = make_trainer(monitor, routing(), default_root_dir=tmp_path)
    trainer.fit(Regression(), OnlyLow())
    assert {name for name in trainer.callback_metrics if "routing" in name} == {
        f"routing/encoder.1/low/{region}{place}" for region in ("low", "high") for place in ("", "/before")
    }
    assert monitor.energies["encoder.1"][1].tolist() == [0, 0]
    assert (tmp_path / "routing" / "encoder.1.png").exists()


def test_probes_are_gone_after_training_and_after_an_exception(tmp_path: Path) -> None:
    class Failing(Regression):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            super().training_step(batch, batch_idx)
            assert route.router.taps[0].probe is not None
            raise RuntimeError("out of luck")

    route = routing()
    with pytest.raises(RuntimeError, match="out of luck"):
        make_trainer(route, RoutingMonitor(), default_root_dir=tmp_path).fit(Failing(), Batches())
    assert route.router.taps[0].probe is None


def test_mistakes_are_told_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`every_n_steps`: expected at least 1, got 0"):
        RoutingMonitor(0)
    with pytest.raises(ValueError, match="RoutingMonitor: expected a GradientRouting callback"):
        make_trainer(RoutingMonitor(), default_root_dir=tmp_path).fit(Regression(), Batches())
    with pytest.raises(ValueError, match="strategy 'gradient'.*got \\['activation'\\]"):
        make_trainer(RoutingMonitor(), routing(strategy="activation"), default_root_dir=tmp_path).fit(
            Regression(), Batches()
        )


def test_csv_logger_gets_shares_and_the_files_lie_beside_them(tmp_path: Path) -> None:
    trainer = make_trainer(RoutingMonitor(every_n_steps=2), routing(), logger=CSVLogger(tmp_path))
    trainer.fit(Regression(), Batches())
    folder = tmp_path / "lightning_logs" / "version_0"
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        shares = [row["routing/encoder.1/high/high"] for row in csv.DictReader(file)]
    assert [float(share) for share in shares if share] == [1, 1]
    assert (folder / "routing.csv").exists()
    assert (folder / "routing" / "encoder.1.png").exists()


class RecordedTensorBoard(TensorBoardLogger):
    """Stands in for TensorBoard, which may not be installed: keeps what is written."""

    def __init__(self, log_dir: Path) -> None:
        self.folder = str(log_dir)
        self.images: dict[str, tuple[Any, str]] = {}

    @property
    def log_dir(self) -> str:
        return self.folder

    @property
    def experiment(self) -> Any:
        def add_image(name: str, pixels: Tensor, step: int, dataformats: str) -> None:
            self.images[name] = (pixels, dataformats)

        return SimpleNamespace(add_image=add_image, add_text=lambda *args: None)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...
    def log_hyperparams(self, *args: object, **kwargs: object) -> None: ...
    def save(self) -> None: ...
    def finalize(self, status: str) -> None: ...
    def log_graph(self, *args: object, **kwargs: object) -> None: ...


def test_tensorboard_gets_the_pictures(tmp_path: Path) -> None:
    logger = RecordedTensorBoard(tmp_path)
    make_trainer(RoutingMonitor(), routing(), logger=logger).fit(Regression(), Batches())
    pixels, dataformats = logger.images["routing/encoder.1"]
    with Image.open(tmp_path / "routing" / "encoder.1.png") as picture:
        assert pixels.shape == (picture.height, picture.width, 3)
        assert bytes(pixels.flatten().tolist()) == picture.convert("RGB").tobytes()
    assert dataformats == "HWC"


def test_wandb_gets_shares_a_table_and_pictures(wandb_dir: Path) -> None:
    logger = WandbLogger(save_dir=wandb_dir, project="routing", offline=True)
    make_trainer(RoutingMonitor(), routing(), logger=logger).fit(Regression(), Batches())
    logger.experiment.finish()
    (run,) = offline_runs(wandb_dir)
    logged = summary(run)
    assert logged["routing/encoder.1/low/low"] == 1
    assert [row["share"] for row in table(run, logged["routing/shares"])] == [1, 0, 0, 1]
    (picture,) = logged["routing/encoder.1"]["filenames"]
    (ours,) = wandb_dir.rglob("routing/encoder.1.png")
    assert (run / "files" / picture).read_bytes() == ours.read_bytes()


def test_nothing_is_written_by_a_fast_dev_run(tmp_path: Path) -> None:
    make_trainer(RoutingMonitor(), routing(), default_root_dir=tmp_path, fast_dev_run=True).fit(Regression(), Batches())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_compiled_models_are_measured_too(tmp_path: Path) -> None:
    class Compiled(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.encoder.compile(backend="aot_eager")

    eager, compiled = RoutingMonitor(every_n_steps=2), RoutingMonitor(every_n_steps=2)
    for model, monitor in ((Regression(), eager), (Compiled(), compiled)):
        make_trainer(monitor, routing(), default_root_dir=tmp_path).fit(model, Batches())
    assert compiled.num_steps == 2
    torch.testing.assert_close(compiled.energies["encoder.1"], eager.energies["encoder.1"])


def test_modules_that_several_routes_mask_are_told_apart(tmp_path: Path) -> None:
    monitor = RoutingMonitor()
    make_trainer(monitor, GradientRouting([ROUTE, ROUTE]), default_root_dir=tmp_path).fit(Regression(), Batches())
    assert list(monitor.energies) == ["encoder.1", "encoder.1-2"]


def test_a_resumed_run_continues_its_sums(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def trained(monitor: RoutingMonitor, epochs: int, checkpoint: Path | None = None) -> Any:
        trainer = make_trainer(monitor, routing(), max_epochs=epochs, default_root_dir=tmp_path)
        trainer.fit(Regression(), Batches(), ckpt_path=checkpoint)
        return trainer

    whole, half, resumed = (RoutingMonitor(every_n_steps=2) for _ in range(3))
    trained(whole, 2)
    trained(half, 1).save_checkpoint(tmp_path / "half.ckpt")
    trained(resumed, 2, tmp_path / "half.ckpt")
    assert (half.num_steps, resumed.num_steps, whole.num_steps) == (2, 4, 4)
    assert torch.equal(resumed.energies["encoder.1"], whole.energies["encoder.1"])
    assert torch.equal(resumed.before["encoder.1"], whole.before["encoder.1"])
    assert resumed.history == whole.history
    assert len(whole.history) == 4 * 4
    trained(resumed, 1)  # a run of its own starts anew
    assert resumed.num_steps == 2
    other = RoutingMonitor()
    other.load_state_dict({"energies": {"encoder.0": torch.ones(2, 2)}, "num_steps": 9, "num_left_out": 0})
    trained(other, 1)
    assert other.num_steps == 1
    assert "RoutingMonitor starts anew: the checkpoint measured" in caplog.text

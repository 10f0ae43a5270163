"""Capability profiles: what they measure and export is what the model does without the other regions."""

import copy
import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from routed_run import RULE, Batches, Regression, make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM
from wandb_runs import offline_runs, summary, table

from lightning_vista.callbacks import Ablation, BranchExpansion, CapabilityProfiles, GradientRouting
from lightning_vista.datamodules import StoriesDataModule
from lightning_vista.models import LanguageModelModule
from lightning_vista.routing import LabelRule, Route

ROUTE = Route("encoder.1", RULE, {"core": ":4", "low": "4:6", "high": "6:"})
PROFILES = {"core": [], "core+low": ["low"], "all": ["low", "high"]}


def outcome(model: L.LightningModule, *callbacks: L.Callback, **options: Any) -> dict[str, float]:
    (figures,) = make_trainer(*callbacks, **options).test(model, Batches(), verbose=False)
    return {name: float(value) for name, value in figures.items()}


def scaled(model: Regression, low: float, high: float) -> Regression:
    """A copy that reads two regions by some factors."""
    other = copy.deepcopy(model)
    columns: Any = other.get_parameter("encoder.2.weight").data
    columns[:, 4:6] *= low
    columns[:, 6:] *= high
    return other


def test_every_profile_and_scale_is_tested_as_the_module_tests_itself(tmp_path: Path) -> None:
    model = Regression()
    before = copy.deepcopy(model.state_dict())
    profiles = CapabilityProfiles(PROFILES, scales=[0, 0.25], routes=[ROUTE])
    found = outcome(model, profiles, default_root_dir=tmp_path)
    factors = {
        "core": (0, 0), "core+low": (1, 0), "core+low@0": (0, 0), "core+low@0.25": (0.25, 0),
        "all": (1, 1), "all@0": (0, 0), "all@0.25": (0.25, 0.25),
    }  # fmt: skip
    expected = {label: outcome(scaled(model, *pair))["test/loss"] for label, pair in factors.items()}
    assert {label: found[f"test/profile/{label}/loss"] for label in factors} == pytest.approx(expected)
    assert found["test/loss"] == outcome(model)["test/loss"]
    assert len(set(expected.values())) == 5
    assert not model.encoder[1]._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with (tmp_path / "profiles.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["profile"] for row in rows] == ["core", *["core+low"] * 3, *["all"] * 3]
    assert [float(row["value"]) for row in rows] == pytest.approx([expected[label] for label in profiles.settings])
    assert {row["metric"] for row in rows} == {"loss"}
    pictures = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    assert pictures == {"test/profiles.png", "test/titration/core+low.png", "test/titration/all.png"}


def test_means_over_batches_of_several_sizes_and_hooks_of_the_module_are_those_of_lightning() -> None:
    class Counting(Regression):
        """Keeps state from the start of a test to its end, as metrics and calibrated biases do."""

        shift: float | None = None

        def on_test_start(self) -> None:
            assert self.shift is None
            self.shift = float(self.encoder[1](self.encoder[0](torch.ones(1, 3))).sum())

        def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
            self.log("test/mean", self.loss(batch), batch_size=len(batch["x"]))
            self.log("test/most", self.loss(batch) + (self.shift or 0.0), reduce_fx="max")

        def on_test_end(self) -> None:
            self.shift = None

    items: Any = [{"x": torch.randn(size, 3)} for size in (1, 4, 2)]
    model, loader = Counting(), DataLoader(items, batch_size=None)
    (found,) = make_trainer(CapabilityProfiles(PROFILES, routes=[ROUTE])).test(model, loader, verbose=False)
    with torch.no_grad():
        columns = torch.tensor([1.0, 1, 1, 1, 1, 1, 0, 0])
        losses = [model.encoder[2](model.encoder[1](model.encoder[0](x["x"])) * columns).square().mean() for x in items]
        shift = (model.encoder[1](model.encoder[0](torch.ones(1, 3))) * columns).sum()
    assert found["test/profile/core+low/mean"] == pytest.approx(
        float(sum(n * x for n, x in zip((1, 4, 2), losses, strict=True))) / 7
    )
    assert found["test/profile/core+low/most"] == pytest.approx(float(max(losses) + shift))


@pytest.mark.slow
def test_compiled_modules_are_compiled_anew_for_each_profile(tmp_path: Path) -> None:
    class Compiled(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.compile(self.encoder, backend="eager")  # type: ignore[assignment]

    profiles = CapabilityProfiles(PROFILES, scales=[0.25], routes=[ROUTE])
    logged = [outcome(model, profiles, default_root_dir=tmp_path) for model in (Regression(), Compiled())]
    assert logged[1] == pytest.approx(logged[0])


def test_wandb_gets_a_table_and_pictures(wandb_dir: Path) -> None:
    logger = WandbLogger(save_dir=wandb_dir, project="profiles", offline=True)
    found = outcome(Regression(), CapabilityProfiles(PROFILES, scales=[0.5], routes=[ROUTE]), logger=logger)
    logger.experiment.finish()
    (run,) = offline_runs(wandb_dir)
    logged = summary(run)
    assert logged["test/profile/core/loss"] == pytest.approx(found["test/profile/core/loss"])
    rows = table(run, logged["test/profiles_table"])
    assert [(row["profile"], row["scale"]) for row in rows][:3] == [("core", 1.0), ("core+low", 1.0), ("core+low", 0.5)]
    assert all(logged[name]["filenames"] for name in ("test/profiles", "test/titration/all"))


def test_a_part_of_the_test_data_is_that_of_the_test() -> None:
    class Longer(Batches):
        def test_dataloader(self) -> DataLoader[Any]:
            return self.batches(3, seed=3)

    def first(*callbacks: L.Callback) -> float:
        trainer = make_trainer(*callbacks, limit_test_batches=2)
        (figures,) = trainer.test(Regression(), Longer(), verbose=False)
        return float(figures["test/profile/all/loss" if callbacks else "test/loss"])

    assert first(CapabilityProfiles(PROFILES, routes=[ROUTE])) == first()


@pytest.mark.parametrize("label", ["core", "core+low", "core+low@0.5"])
def test_an_exported_checkpoint_is_the_profile(tmp_path: Path, label: str) -> None:
    model = Regression()
    profiles = CapabilityProfiles(PROFILES, scales=[0.5], export=[label], write="checkpoint", routes=[ROUTE])
    found = outcome(model, profiles, default_root_dir=tmp_path)
    width = 4 if label == "core" else 6
    fresh = Regression()
    fresh.encoder[0], fresh.encoder[2] = nn.Linear(3, width), nn.Linear(width, 2)
    path = tmp_path / f"profiles/{label}.ckpt"
    (figures,) = make_trainer().test(fresh, Batches(), ckpt_path=path, verbose=False)
    assert figures["test/loss"] == pytest.approx(found[f"test/profile/{label}/loss"])


SIZES: dict[str, dict[str, Any]] = {
    "gpt_neo": {
        "hidden_size": 8, "num_layers": 2, "attention_types": [[["global"], 2]], "num_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 144,
    },
    "gpt2": {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 144},
    "llama": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
}  # fmt: skip
NEO = ("model.transformer.h.*.mlp", "act", "output")
MLPS = {"gpt_neo": NEO, "gpt2": NEO, "llama": ("model.model.layers.*.mlp", "down_proj", "input")}


def language_model(family: str) -> LanguageModelModule:
    torch.manual_seed(0)
    sizes = {**SIZES[family], "vocab_size": 1344, "bos_token_id": None, "eos_token_id": None}
    return LanguageModelModule(family, sizes)


def topics(family: str, modules: str | None = None) -> list[L.Callback]:
    """Two branches beside each MLP, and routes on them."""
    mlp, hidden, at = MLPS[family]
    rule = LabelRule("known", {"bio": [1], "cyber": [0]})
    branches = [
        BranchExpansion([modules or mlp], units, hidden, at, name)  # type: ignore[arg-type]
        for name, units in (("bio", 5), ("cyber", 3))
    ]
    return [*branches, GradientRouting([Route(f"{mlp}.{name}", rule, {name: "rest"}) for name in ("bio", "cyber")])]


class Waking(L.Callback):
    """Gives all parameters values of ordinary sizes, new branches too, as training does."""

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for parameter in pl_module.parameters():
            nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.4)


@pytest.mark.parametrize("family", SIZES)
def test_any_profile_is_a_plain_model_of_transformers(family: str, tmp_path: Path) -> None:
    module = language_model(family)
    export = ["core", "core+bio", "core+bio@0.5", "both"]
    profiles = CapabilityProfiles({"core": [], "core+bio": ["bio"], "both": ["bio", "cyber"]}, [0.5], export)
    trainer = make_trainer(*topics(family), Waking(), profiles, limit_test_batches=1, default_root_dir=tmp_path)
    trainer.test(module, StoriesDataModule(num_stories=60, batch_size=8), verbose=False)
    losses = {label: values["loss/all"] for label, values in profiles.results.items()}
    assert len(set(losses.values())) == len(profiles.settings)
    ids = torch.randint(1, 1000, (2, 9), generator=torch.Generator().manual_seed(0))
    module.eval()
    for label in export:
        loader: Any = AutoModelForCausalLM
        plain = loader.from_pretrained(tmp_path / "profiles" / label).eval()
        handles = []
        for path, part in module.named_modules():
            if (topic := path.rpartition(".")[2]) in profiles.regions:
                factor = profiles.settings[label].factors[topic]
                handles.append(part.register_forward_hook(lambda _, args, output, factor=factor: factor * output))
        with torch.no_grad():
            torch.testing.assert_close(plain(ids).logits, module(ids), rtol=1e-4, atol=1e-5)
        for handle in handles:
            handle.remove()
        assert len(loader.from_pretrained(tmp_path / "profiles" / label).state_dict()) == len(plain.state_dict())
    assert (tmp_path / "profiles/core/tokenizer.json").exists()


def test_layers_without_a_branch_are_padded_in_an_export(tmp_path: Path) -> None:
    module, one = language_model("gpt_neo"), "model.transformer.h.1.mlp"
    profiles = CapabilityProfiles({"core+bio": ["bio"], "all": ["bio", "cyber"]}, export=["core+bio"])
    trainer = make_trainer(*topics("gpt_neo", one), Waking(), profiles, limit_test_batches=1, default_root_dir=tmp_path)
    trainer.test(module, StoriesDataModule(num_stories=60, batch_size=8), verbose=False)
    loader: Any = AutoModelForCausalLM
    plain = loader.from_pretrained(tmp_path / "profiles/core+bio")
    assert plain.config.intermediate_size == 21
    assert plain.transformer.h[0].mlp.c_fc.weight[16:].abs().sum() == 0


def test_profiles_of_a_checkpoint_without_their_regions_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module, settings = language_model("gpt_neo"), {"core": [], "core+bio": ["bio"], "all": ["bio", "cyber"]}
    routing = topics("gpt_neo")[1:]  # without the branch for bio
    profiles = CapabilityProfiles({**settings, "core+cyber": ["cyber"]})
    trainer = make_trainer(*routing, profiles, limit_test_batches=1, default_root_dir=tmp_path)
    trainer.test(module, StoriesDataModule(num_stories=60, batch_size=8), verbose=False)
    assert list(profiles.results) == ["core", "core+cyber"]
    assert "Left out: ['all', 'core+bio']" in caplog.text


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="`profiles`: expected at least one profile with a region"):
        CapabilityProfiles({"core": []})
    with pytest.raises(ValueError, match=r"`profiles`: expected names of letters.*got \['../x'\]"):
        CapabilityProfiles({"../x": ["low"]})
    with pytest.raises(ValueError, match=r"`scales`: expected numbers of at least 0, got \[-1\]"):
        CapabilityProfiles(PROFILES, scales=[-1])
    with pytest.raises(ValueError, match="`export`: expected one of 'core', 'core.low', 'all', got 'core@0.5'"):
        CapabilityProfiles(PROFILES, export=["core@0.5"])
    with pytest.raises(ValueError, match="`write`: expected a module with a transformers model for 'folder'"):
        outcome(Regression(), CapabilityProfiles(PROFILES, export=["core"], routes=[ROUTE]))
    with pytest.raises(ValueError, match=r"regions of the routes, \['core', 'high', 'low'\], got \['bio'\]"):
        outcome(Regression(), CapabilityProfiles({"all": ["bio"]}, routes=[ROUTE]))
    with pytest.raises(ValueError, match="expected a test of the whole model, got an Ablation"):
        outcome(Regression(), CapabilityProfiles(PROFILES, routes=[ROUTE]), Ablation(["low"], routes=[ROUTE]))


def test_a_module_that_testing_does_not_call_is_an_error() -> None:
    class Bypassing(Regression):
        def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
            self.log("test/loss", torch.tensor(0.0))

    with pytest.raises(ValueError, match="expected the test to call .*'encoder.1:output'.*, got no call"):
        outcome(Bypassing(), CapabilityProfiles(PROFILES, routes=[ROUTE]))

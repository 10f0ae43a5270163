"""Two LoRA adapters on one model: each is trained by its own data, and one is cut off exactly."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from peft import PeftModel
from routed_run import Regression
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModelForCausalLM

from lightning_vista.callbacks import Ablation, Adapters, GradientRouting
from lightning_vista.models import LanguageModelModule
from lightning_vista.models.lora import adapter_names
from lightning_vista.routing import LabelRule, ParameterRoute, Route

SIZES = {
    "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 20, "max_position_embeddings": 8,
}  # fmt: skip
NAMES = ["retain", "forget"]
CONFIG = {"r": 2, "target_modules": ["q_proj", "down_proj"]}
RULE = LabelRule("known", {"forget": [1], "retain": [0]})
load: Any = AutoModelForCausalLM  # much of it is untyped


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    load.from_config(AutoConfig.for_model("llama", **SIZES)).save_pretrained(folder)
    return folder


def batches(*known: Sequence[int]) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "input_ids": torch.randint(20, (len(labels), 8), generator=generator),
            "attention_mask": torch.ones(len(labels), 8, dtype=torch.long),
            "known": torch.tensor(labels),
            "is_forget": torch.tensor(labels).clamp(min=0),
        }
        for labels in known
    ]


def routes(forward: bool = True) -> list[Route]:
    """Each group trains the adapter of its name; retain rows may be computed without the other one."""
    where = "model.model.layers.*.*.*.lora_B."
    off = {"retain": ["forget"]} if forward else None
    return [
        Route(f"{where}forget", RULE, {"forget": "rest"}, forward=off),
        Route(f"{where}retain", RULE, {"retain": "rest"}),
    ]


def trainer(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, callbacks=[Adapters(NAMES, CONFIG), *callbacks], **options,
    )  # fmt: skip


def module(base: Path, **options: Any) -> LanguageModelModule:
    return LanguageModelModule(checkpoint=str(base), learning_rate=0.02, warmup_steps=1, **options)


def with_adapters(base: Path) -> LanguageModelModule:
    """A module whose adapters are not zero."""
    net = module(base)
    torch.manual_seed(1)
    Adapters(NAMES, CONFIG).setup(L.Trainer(logger=False, accelerator="cpu"), net, "fit")
    generator = torch.Generator().manual_seed(2)
    for name, parameter in net.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return net


class Gradients(L.Callback):
    """Keeps the gradients of the first backward pass."""

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.found = {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in pl_module.named_parameters()
            if "lora" in name
        }


def by_formula(net: LanguageModelModule, batch: dict[str, Tensor], forward: bool) -> dict[str, Tensor]:
    """Gradients by an independent way: one backward pass for each row, with stop-gradient and peft's own switches."""
    total: dict[str, Tensor] = {}
    for row, known in enumerate(batch["known"].tolist()):
        net.zero_grad()
        net.model.set_adapter(["retain"] if known == 0 and forward else NAMES)
        blocked = {0: ".lora_B.forget", 1: ".lora_B.retain"}.get(known, "none")
        outputs = [module for name, module in net.named_modules() if name.endswith(blocked)]
        handles = [module.register_forward_hook(lambda _m, _i, output: output.detach()) for module in outputs]
        ids = batch["input_ids"][row : row + 1]
        (net.model(ids, labels=ids).loss / len(batch["known"])).backward()
        for handle in handles:
            handle.remove()
        for name, parameter in net.named_parameters():
            if "lora" in name:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
                total[name] = total.get(name, torch.zeros_like(gradient)) + gradient
    return total


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_routes_are_those_of_the_formula(
    base: Path, tmp_path: Path, forward: bool, checkpointing: bool
) -> None:
    net = with_adapters(base)
    expected = by_formula(copy.deepcopy(net), batches([1, 0, -1, 0, 1])[0], forward)
    weights = net.state_dict()
    net = module(base, gradient_checkpointing=checkpointing)
    seen = Gradients()
    Adapters(NAMES, CONFIG).setup(L.Trainer(logger=False, accelerator="cpu"), net, "fit")
    net.load_state_dict(weights)
    loader: DataLoader[Any] = DataLoader(batches([1, 0, -1, 0, 1]), batch_size=None)  # type: ignore[arg-type]
    trainer(tmp_path, GradientRouting(routes(forward)), seen, enable_checkpointing=False).fit(net, loader, loader)
    assert set(seen.found) == set(expected)
    for name, gradient in seen.found.items():
        assert torch.allclose(gradient, expected[name], atol=1e-6), name
        assert gradient.any()


def test_parameter_routes_train_as_if_the_other_adapter_was_frozen(base: Path, tmp_path: Path) -> None:
    """Bitwise, over AdamW with its momentum and decay, in batches of one kind."""
    data = batches([1, 1], [0, 0], [1], [-1, -1], [0, 0])

    def train(*callbacks: L.Callback) -> dict[str, Tensor]:
        net = with_adapters(base)
        loader: DataLoader[Any] = DataLoader(data, batch_size=None)  # type: ignore[arg-type]
        trainer(tmp_path, *callbacks, enable_checkpointing=False).fit(net, loader, loader)
        return net.state_dict()

    class Freeze(L.Callback):
        def on_train_batch_start(
            self, trainer: L.Trainer, pl_module: L.LightningModule, batch: dict[str, Tensor], batch_idx: int
        ) -> None:
            frozen = {0: ".forget.", 1: ".retain."}.get(int(batch["known"][0]), "none")
            for name, parameter in pl_module.named_parameters():
                if "lora" in name:
                    parameter.requires_grad_(frozen not in name)

    routed = train(
        GradientRouting(
            [
                ParameterRoute(RULE, {"retain": 0.0}, ["*.forget.*"]),
                ParameterRoute(RULE, {"forget": 0.0}, ["*.retain.*"]),
            ]
        )
    )
    expected, before = train(Freeze()), with_adapters(base).state_dict()
    for name, value in routed.items():
        assert torch.equal(value, expected[name]), name
        assert torch.equal(value, before[name]) != ("lora" in name), name


def test_the_base_and_the_adapter_of_the_other_group_stay(base: Path, tmp_path: Path) -> None:
    net = with_adapters(base)
    before = copy.deepcopy(net.state_dict())
    loader: DataLoader[Any] = DataLoader(batches([0, 0], [0, 0, 0]), batch_size=None)  # type: ignore[arg-type]
    routing = GradientRouting(routes(), isolate_optimizer=True)
    trainer(tmp_path, routing, enable_checkpointing=False).fit(net, loader, loader)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) != (".retain." in name), name


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(batches([1, 0, 1])[0]["input_ids"]).logits
    return found


# peft asks for the older name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_exported_model_is_the_trained_one_without_the_adapter(base: Path, tmp_path: Path) -> None:
    net = module(base)
    loader: DataLoader[Any] = DataLoader(batches([1, 0, 1], [0, 1, -1]), batch_size=None)  # type: ignore[arg-type]
    cuts = [Ablation(adapters=["forget"], at="end", export=form) for form in ("adapter", "merged")]
    expected, folders = [], []
    for cut in cuts:
        folder = tmp_path / cut.export
        fitted = copy.deepcopy(net)
        torch.manual_seed(0)  # of the new adapters
        trainer(folder, GradientRouting(routes()), cut, enable_checkpointing=False).fit(fitted, loader, loader)
        assert adapter_names(fitted.model) == NAMES  # the trained module stays as it is
        everything = logits(fitted.model)
        fitted.model.set_adapter(["retain"])
        expected.append(logits(fitted.model))
        assert not torch.allclose(everything, expected[-1], atol=1e-4)
        folders.append(folder / "ablated")
    assert torch.equal(*expected)
    adapted = PeftModel.from_pretrained(load.from_pretrained(base), str(folders[0]))
    assert torch.equal(logits(adapted), expected[0])
    assert torch.equal(logits(load.from_pretrained(folders[0])), expected[0])  # transformers finds the base itself
    plain = load.from_pretrained(folders[1])
    assert not any("lora" in name for name in plain.state_dict())
    assert torch.allclose(logits(plain), expected[1], atol=1e-6)


@pytest.mark.parametrize("export", ["adapter", "merged"])
def test_a_checkpoint_decides_which_adapters_there_are(export: Any, base: Path, tmp_path: Path) -> None:
    loader: DataLoader[Any] = DataLoader(batches([1, 0, 1], [0, 1, -1]), batch_size=None)  # type: ignore[arg-type]
    net = module(base)
    cut = Ablation(adapters=["forget"], at="end", export=export)
    run = trainer(tmp_path, GradientRouting(routes()), cut)
    run.fit(net, loader, loader)
    last = run.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    losses = [
        run.test(net, loader, ckpt_path=path, verbose=False)[0]["test/loss/forget"]
        for path in (last, str(tmp_path / "ablated.ckpt"))
    ]
    assert adapter_names(net.model) == ([] if export == "merged" else ["retain"])
    assert losses[0] != losses[1]
    if export == "merged":  # a plain model, which later callbacks can train
        assert all(parameter.requires_grad for parameter in net.model.parameters())
    again = module(base)
    assert run.test(again, loader, ckpt_path=last, verbose=False)[0]["test/loss/forget"] == losses[0]
    assert adapter_names(again.model) == NAMES
    # The module that lost an adapter gets it again, as the checkpoint has it.
    assert run.test(net, loader, ckpt_path=last, verbose=False)[0]["test/loss/forget"] == losses[0]


def test_what_cannot_be_cut_exactly_is_refused(base: Path, tmp_path: Path) -> None:
    fit = L.Trainer(logger=False, accelerator="cpu")
    for options, message in (
        ({"bias": "all"}, "`bias`: expected one of"),
        ({"modules_to_save": ["lm_head"]}, "`modules_to_save`: expected one of"),
        ({"rank": 3}, "expected arguments of peft.LoraConfig"),
    ):
        with pytest.raises(ValueError, match=message):
            Adapters(NAMES, {**CONFIG, **options}).setup(fit, module(base), "fit")
    with pytest.raises(ValueError, match="`names`: expected at least one name"):
        Adapters(["a", "a"], CONFIG)
    with pytest.raises(ValueError, match="expected 'end' for adapters"):
        Ablation(adapters=["forget"])
    with pytest.raises(ValueError, match="expected a module with a model of transformers, got Regression"):
        Adapters(NAMES, CONFIG).setup(fit, Regression(), "fit")
    three = module(base)
    Adapters([*NAMES, "third"], CONFIG).setup(fit, three, "fit")
    with pytest.raises(ValueError, match=r"expected one adapter to be left for 'adapter', got \['retain', 'third'\]"):
        Ablation(adapters=["forget"], at="end", export="adapter").on_fit_start(fit, three)
    loader: DataLoader[Any] = DataLoader(batches([1]), batch_size=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected adapters of the model, \['retain', 'forget'\], got \['other'\]"):
        trainer(tmp_path, Ablation(adapters=["other"], at="end"), enable_checkpointing=False).fit(
            module(base), loader, loader
        )

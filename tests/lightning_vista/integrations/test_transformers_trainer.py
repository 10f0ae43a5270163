"""The Trainer of transformers and TRL's SFTTrainer route as Lightning does."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonargparse
import lightning as L
import pytest
import torch
import yaml
from datasets import Dataset  # type: ignore[import-untyped] # it has no types
from tiny_networks import VOCABULARY, llama
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer, TrainingArguments, default_data_collator
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from lightning_vista.callbacks import GradientRouting
from lightning_vista.integrations.transformers import RoutingMixin, RuleFieldCollator, routing_from_yaml
from lightning_vista.routing import LabelRule, Route, RoutingError, Rule
from lightning_vista.text import word_tokenizer

HIDDEN = "model.layers.*.mlp.down_proj"
ROWS, BATCH = 16, 4
#: The first batch is of one group, so that what blocks a whole batch is checked too.
KNOWN = [1, 1, 1, 1, 0, 1, 0, -1, 1, 0, 0, 1, -1, -1, 1, 1]


class RoutedTrainer(RoutingMixin, Trainer):
    """In the order of the data, as Lightning reads it in these tests."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


class RoutedSFT(RoutingMixin, SFTTrainer):
    """The same with TRL."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


class Module(L.LightningModule):
    """The same training in Lightning, with the loss of the Trainer: a sum divided by the number of tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        tokens = (batch["labels"][:, 1:] != -100).sum()
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "labels") if key in batch}
        loss: Tensor = self.model(**inputs, num_items_in_batch=tokens).loss
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.model)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)


def rows() -> list[dict[str, Any]]:
    ids = torch.randint(VOCABULARY, (ROWS, 8), generator=torch.Generator().manual_seed(2)).tolist()
    return [
        {"input_ids": row, "labels": row, "known": known, "text": "x"} for row, known in zip(ids, KNOWN, strict=True)
    ]


def model() -> nn.Module:
    return llama().float()


def route(module: str = HIDDEN) -> Route:
    rule = LabelRule("known", {"forget": [1], "retain": [0]})
    weights = {"forget": {"new": 1.0, "old": 0.0}, "retain": {"new": 1.0, "old": 1.0}}
    return Route(module, rule, {"new": "-8:", "old": "rest"}, at="input", weights=weights)


USUAL: dict[str, Any] = {
    "num_train_epochs": 2, "per_device_train_batch_size": BATCH, "max_grad_norm": 0, "save_strategy": "no",
    "report_to": "none", "logging_strategy": "no", "disable_tqdm": True, "use_cpu": True,
}  # fmt: skip
SFT: dict[str, Any] = {**USUAL, "bf16": False, "activation_checkpointing": False}


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    return TrainingArguments(str(folder), **{**USUAL, **options})


def by_trainer(folder: Path, routing: dict[str, Any], **options: Any) -> nn.Module:
    net = model()
    optimizer = adamw(net)
    trainer = RoutedTrainer(
        model=net, args=arguments(folder, **options), train_dataset=rows(), **routing,
        optimizers=(optimizer, LambdaLR(optimizer, lambda step: 1.0)),
    )  # fmt: skip
    trainer.train()
    return net


def batches() -> list[dict[str, Tensor]]:
    parts = [rows()[start : start + BATCH] for start in range(0, ROWS, BATCH)]
    return [
        {key: torch.tensor([row[key] for row in part]) for key in ("input_ids", "labels", "known")} for part in parts
    ]


def by_lightning(
    routing: dict[str, Any], data: list[dict[str, Tensor]] | None = None, checkpointing: bool = False, **options: Any
) -> nn.Module:
    net: Any = model()
    if checkpointing:
        net.activation_checkpointing_enable()
    net.train()
    routing = {**routing, "routes": [copy.deepcopy(part) for part in routing["routes"]]}
    for part in routing["routes"]:
        part.module = f"model.{part.module}"
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[GradientRouting(**routing)], **options,
    )  # fmt: skip
    loader: DataLoader[Any] = DataLoader(data or batches(), batch_size=None)  # type: ignore[arg-type]
    trainer.fit(Module(net), loader)
    trained: nn.Module = net
    return trained


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


@pytest.mark.parametrize(
    ("trainers", "lightnings"),
    [
        ({}, {}),
        ({"gradient_accumulation_steps": 2}, {"accumulate_grad_batches": 2}),
        ({"activation_checkpointing": True}, {"checkpointing": True}),
        ({"max_grad_norm": 0.1}, {"gradient_clip_val": 0.1}),
        ({"bf16": True}, {"precision": "bf16-mixed"}),
        pytest.param({"torch_compile": True, "torch_compile_backend": "aot_eager"}, {}, marks=pytest.mark.slow),
    ],
    ids=lambda options: next(iter(options), "plain"),
)
@pytest.mark.parametrize("isolate", [False, True])
def test_the_weights_are_those_of_lightning(
    isolate: bool, trainers: dict[str, Any], lightnings: dict[str, Any], tmp_path: Path
) -> None:
    routing = {"routes": [route()], "isolate_optimizer": isolate, "warmup_steps": 2}
    mine = by_trainer(tmp_path, routing, **trainers)
    assert_same(mine, by_lightning(routing, **lightnings))
    unrouted = by_lightning({"routes": [route()], "mask_weight": 0.0}, **lightnings)
    assert not torch.equal(mine.get_parameter("lm_head.weight"), unrouted.get_parameter("lm_head.weight"))


def test_columns_for_rules_reach_the_rules_and_not_the_model(tmp_path: Path) -> None:
    named = {1: "forget", 0: "retain", -1: "other"}
    data = Dataset.from_list([{**row, "known": named[row["known"]]} for row in rows()])
    rule = LabelRule("known", {"forget": ["forget"], "retain": ["retain"]})
    routing: dict[str, Any] = {"routes": [replace(route(), rule=rule)]}
    net = model()
    optimizer = adamw(net)
    trainer = RoutedTrainer(
        model=net, args=arguments(tmp_path, eval_strategy="epoch"), train_dataset=data, **routing,
        eval_dataset=data.remove_columns("known"), optimizers=(optimizer, LambdaLR(optimizer, lambda step: 1.0)),
    )  # fmt: skip
    trainer.train()
    assert_same(net, by_lightning({"routes": [route()]}))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert trainer.evaluate(data)["eval_loss"] == trainer.evaluate(data.remove_columns("known"))["eval_loss"]


def test_labels_reach_the_model_and_the_rules() -> None:
    collate = RuleFieldCollator(default_data_collator, ["label", "kind"])
    batch = collate([{"x": [1.0], "label": 2, "kind": "a"}, {"x": [3.0], "label": 4, "kind": "b"}])
    assert batch["labels"].tolist() == batch["label"].tolist() == [2, 4]
    assert batch["kind"] == ["a", "b"]
    assert set(collate([{"x": [1.0]}])) == {"x"}
    with pytest.raises(ValueError, match="`kind`: expected values of one shape"):
        collate([{"x": [1.0], "kind": [1]}, {"x": [3.0], "kind": [1, 2]}])


def test_sft_trainer_of_trl(tmp_path: Path) -> None:
    words = ["tree", "fox", "bear", "owl", "sun", "moon", "sea", "hill", "ant", "bee"]
    picks = torch.randint(len(words), (ROWS, 7), generator=torch.Generator().manual_seed(3))
    texts = [" ".join(words[pick] for pick in row[: 3 + number % 5]) for number, row in enumerate(picks)]
    data = Dataset.from_list([{"text": text, "known": known} for text, known in zip(texts, KNOWN, strict=True)])
    net = model()
    optimizer = adamw(net)
    args = SFTConfig(str(tmp_path), **SFT)
    routing: dict[str, Any] = {"routes": [route()], "isolate_optimizer": True}
    trainer = RoutedSFT(
        model=net, args=args, train_dataset=data, processing_class=word_tokenizer(texts), **routing,
        optimizers=(optimizer, LambdaLR(optimizer, lambda step: 1.0)),
    )  # fmt: skip
    trainer.train()
    seen = list(trainer.get_train_dataloader())
    assert seen[0]["known"].tolist() == KNOWN[:BATCH]
    assert seen[0]["attention_mask"].sum() < seen[0]["attention_mask"].numel()
    for (name, mine), theirs in zip(net.named_parameters(), by_lightning(routing, seen).parameters(), strict=True):
        # Attention does not depend on the biases of keys: their gradients are rounding errors, which AdamW blows up.
        assert name.endswith("k_proj.bias") or torch.allclose(mine, theirs, atol=1e-6), name


def test_packing_is_refused(tmp_path: Path) -> None:
    data = Dataset.from_list([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows()])
    args = SFTConfig(str(tmp_path), packing=True, packing_strategy="wrapped", max_length=8, **SFT)
    with pytest.raises(RoutingError, match="`packing`, `padding_free`: expected rows of one sample"):
        RoutedSFT(
            model=model(), args=args, train_dataset=data, processing_class=word_tokenizer(["a"]), routes=[route()]
        )


class Alternating(Rule):
    """Routes every other batch: what it does depends on the batches before."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.groups)
        self.rule, self.count = rule, 0

    def memberships(self, batch: Any) -> Tensor:
        self.count += 1
        return self.rule.memberships(batch) * (self.count % 2)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.count = state_dict["count"]


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def train(resume: str | None, **options: Any) -> nn.Module:
        net = model()
        routing: dict[str, Any] = {
            "routes": [replace(route(), rule=Alternating(route().rule))],
            "warmup_steps": 4,
            **options,
        }
        args = arguments(tmp_path, num_train_epochs=1, save_strategy="steps", save_steps=3, learning_rate=0.01)
        RoutedTrainer(model=net, args=args, train_dataset=rows(), **routing).train(resume_from_checkpoint=resume)
        return net

    whole = train(None)
    assert_same(train(str(tmp_path / "checkpoint-3")), whole)
    assert "resumes" not in caplog.text
    train(str(tmp_path / "checkpoint-3"), strategy="activation")
    assert "'strategy': ('gradient', 'activation')" in caplog.text
    state = tmp_path / "checkpoint-3/routing.pt"
    state.write_bytes(state.read_bytes().replace(b"settings", b"sittings"))
    with pytest.raises(ValueError, match=r"routing\.pt is damaged: its part .* has changed"):
        train(str(tmp_path / "checkpoint-3"))
    state.unlink()
    with pytest.raises(AssertionError):  # the rule starts anew
        assert_same(train(str(tmp_path / "checkpoint-3")), whole)
    assert "trained without" in caplog.text


def test_routes_in_yaml_are_those_of_the_callback(tmp_path: Path) -> None:
    text = """
routes:
  - module: model.layers.*.mlp.down_proj
    at: input
    rule:
      class_path: lightning_vista.routing.LabelRule
      init_args: {field: known, groups: {forget: [1], retain: [0]}}
    regions: {new: "-8:", old: rest}
    weights: {forget: {new: 1.0, old: 0.0}, retain: {new: 1.0, old: 1.0}}
isolate_optimizer: true
"""
    path = tmp_path / "routes.yaml"
    path.write_text(text, encoding="utf-8")
    assert_same(
        by_trainer(tmp_path, routing_from_yaml(path)),
        by_trainer(tmp_path, {"routes": [route()], "isolate_optimizer": True}),
    )
    callback = jsonargparse.ArgumentParser()
    callback.add_class_arguments(GradientRouting, "routing")
    options = callback.parse_object({"routing": yaml.safe_load(text)}).routing
    assert set(vars(options)) == set(routing_from_yaml(path))
    path.write_text(text.replace("strategy", "").replace("regions", "region"), encoding="utf-8")
    with pytest.raises(ValueError, match="expected the routes of a trainer"):
        routing_from_yaml(path)


def test_routes_that_do_not_fit_are_named_before_the_first_step(tmp_path: Path) -> None:
    net = model()
    before = copy.deepcopy(net)
    trainer = RoutedTrainer(
        model=net,
        args=arguments(tmp_path),
        train_dataset=rows(),
        routes=[route("model.layer.*"), replace(route(), weights={"x": {}})],
    )
    with pytest.raises(RoutingError, match=r"(?s)model\.layer\.\*.*'x'"):
        trainer.train()
    assert_same(net, before)


def test_a_group_that_never_occurs_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rule = LabelRule("known", {"forget": [7], "retain": [0]})
    by_trainer(tmp_path, {"routes": [replace(route(), rule=rule)]})
    assert caplog.text.count("'forget' never occurred. Values of 'known' were -1, 0, 1.") == 1


def test_engines_that_cannot_be_exact_are_named(tmp_path: Path) -> None:
    trainer: Any = RoutedTrainer(model=model(), args=arguments(tmp_path), train_dataset=rows(), routes=[route()])
    plugins = SimpleNamespace(
        deepspeed_plugin=SimpleNamespace(zero_stage=3), fsdp_plugin=SimpleNamespace(fsdp_version=1)
    )
    trainer.accelerator = SimpleNamespace(state=plugins)
    trainer.is_deepspeed_enabled = trainer.is_fsdp_enabled = True
    trainer.args._n_gpu = 2
    fsdp1, zero_3, parallel = trainer._faults()
    assert fsdp1.startswith("FSDP1")
    assert zero_3.startswith("DeepSpeed ZeRO-3")
    assert parallel.startswith("`n_gpu`: expected one device for each process, got 2")

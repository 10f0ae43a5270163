"""Each family, against the formula: routes, expansion, slices, isolation. The table in the docs is what is found here.

`LIGHTNING_VISTA_WRITE_FAMILIES=1 pytest tests/lightning_vista/routing/test_families.py -n0` writes the table anew.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_families as tiny
import torch
from routing_oracles import experts_by_formula, full_mask, gate_by_formula, gradients
from tiny_families import Family, Units
from tiny_networks import HEAD_DIM
from torch import Tensor, nn

from lightning_vista.routing import FieldRule, Route, Router, ablate, expand, unit_group

PAGE = Path(__file__).parents[3] / "docs" / "families.md"
CHECKS = ("route", "expand", "slice", "isolate", "load")

MIXED = ("not known", "the norm mixes heads")
NORM = {"expand": MIXED, "slice": MIXED, "isolate": MIXED}
ONE_NUMBER = {"load": ("mismatched", "the configuration derives the width of heads from their number")}
NO_WIDTH = {"load": ("mismatched", "the configuration states no width")}
T5_BIAS = ("position bias", "all layers share a position bias by head")
T5_FIRST = ("not known", "its position bias serves all layers")
T5 = {"expand": T5_BIAS, "slice": T5_BIAS}
PHI3 = ("configuration", "the number of heads is read from the configuration")
ALIBI = ("to work with another number", "slopes of ALiBi are computed for all layers")
ONE_KEY = {
    "expand": ("to work with another number", "all heads share one key"),
    "slice": ("to keep some", "all heads share one key"),
}
MAMBA = ("fixed", "the convolution cannot be resized")
MAMBA_MIXED = ("not known", "`x_proj` reads channels for all of them")
MAMBA2_MIXED = ("not known", "the gated norm mixes heads")
MAMBA2_READ = ("the norm behind the heads", "the gated norm mixes heads")
GATE = "logits of the gate"
COMPETE = {"expand": ("fixed", "experts compete"), "slice": ("fixed", "experts compete")}
RESPONSE = ("not known|to work with", "the response norm mixes channels")
GROUP = ("not known", "the norm mixes channels of a group: set `unit_size` to their number")
WIDTHS = {"load": ("mismatched", "the configuration states several widths")}
HEADS: dict[str, Any] = {"at": "input", "unit_size": HEAD_DIM}


def llama(family: Family, **heads: Any) -> list[Units]:
    return [
        Units(family, "hidden units", "model.layers.{}.mlp.down_proj", "input"),
        Units(family, "heads", "model.layers.{}.self_attn.o_proj", **HEADS, **heads),
    ]


def neox(family: Family, blocks: str, attention: str, refused: Any, mlp: Any = None) -> list[Units]:
    return [
        Units(family, "hidden units", f"{blocks}.mlp.dense_4h_to_h", "input", refused=mlp or {}),
        Units(family, "heads", f"{blocks}.{attention}.dense", **HEADS, refused=refused),
    ]


def t5(family: Family) -> list[Units]:
    stacks = (
        "encoder.block.0.layer.1",
        "encoder.block.1.layer.1",
        "decoder.block.0.layer.2",
        "decoder.block.1.layer.2",
    )
    return [
        Units(family, "hidden units", "{}.DenseReluDense.wo", "input", layers=stacks,
            pattern="encoder.block.*.layer.1.DenseReluDense.wo"),
        Units(family, "heads of the first layer", "encoder.block.{}.layer.0.SelfAttention.o", **HEADS, layers=(0,),
            refused={**T5, "isolate": T5_FIRST}),
        Units(family, "other heads", "decoder.block.{}.layer.0.SelfAttention.o", **HEADS, layers=(1,), refused=T5),
        Units(family, "heads of cross-attention", "decoder.block.{}.layer.1.EncDecAttention.o", **HEADS, refused=T5),
    ]  # fmt: skip


def bert(family: Family, layers: str) -> list[Units]:
    return [
        Units(family, "hidden units", f"{layers}.output.dense", "input"),
        Units(family, "heads", f"{layers}.attention.output.dense", **HEADS, refused=ONE_NUMBER),
    ]


def mixture(family: Family, gate: str = "gate") -> list[Units]:
    block = "model.layers.{}.mlp"
    return [
        Units(family, "experts", f"{block}.experts", "experts", refused=COMPETE, flattened=True),
        Units(family, GATE, f"{block}.{gate}", refused=COMPETE, flattened=True),
    ]


ROWS = [
    Units(tiny.GPT2, "hidden units", "transformer.h.{}.mlp.act"),
    Units(tiny.GPT2, "heads", "transformer.h.{}.attn.c_proj", **HEADS, refused=ONE_NUMBER),
    Units(tiny.GPT_NEO, "hidden units", "transformer.h.{}.mlp.act"),
    Units(tiny.GPT_NEO, "heads", "transformer.h.{}.attn.attention.out_proj", **HEADS, refused=ONE_NUMBER),
    *llama(tiny.LLAMA_3), *llama(tiny.MISTRAL), *llama(tiny.QWEN3), *llama(tiny.GEMMA),
    *llama(tiny.OLMO2, refused=NORM),
    *llama(tiny.PHI3, refused={"expand": PHI3, "slice": PHI3}),
    *neox(tiny.PYTHIA, "gpt_neox.layers.{}", "attention", ONE_NUMBER),
    *neox(tiny.BLOOM, "transformer.h.{}", "self_attention", {"expand": ALIBI, "slice": ALIBI}, NO_WIDTH),
    *neox(tiny.FALCON, "transformer.h.{}", "self_attention", ONE_NUMBER),
    *neox(tiny.FALCON_7B, "transformer.h.{}", "self_attention", ONE_KEY),
    *neox(tiny.FALCON_40B, "transformer.h.{}", "self_attention", ONE_NUMBER),
    Units(tiny.OPT, "hidden units", "model.decoder.layers.{}.activation_fn", flattened=True),
    Units(tiny.OPT, "heads", "model.decoder.layers.{}.self_attn.out_proj", **HEADS, refused=ONE_NUMBER),
    *t5(tiny.T5), *t5(tiny.FLAN_T5),
    *bert(tiny.BERT, "bert.encoder.layer.{}"), *bert(tiny.ESM2, "esm.encoder.layer.{}"),
    Units(tiny.MAMBA, "channels", "backbone.layers.{}.mixer.out_proj", "input",
        refused={"expand": MAMBA, "slice": MAMBA, "isolate": MAMBA_MIXED}),
    Units(tiny.MAMBA2, "heads before the norm", "backbone.layers.{}.mixer.norm", **HEADS,
        refused={"expand": MAMBA2_READ, "slice": MAMBA2_READ}),
    Units(tiny.MAMBA2, "groups of heads", "backbone.layers.{}.mixer.out_proj", "input", 4 * HEAD_DIM,
        refused={"expand": MAMBA, "slice": MAMBA}),
    Units(tiny.MAMBA2, "heads behind the norm", "backbone.layers.{}.mixer.out_proj", **HEADS,
        refused={"expand": MAMBA, "slice": MAMBA, "isolate": MAMBA2_MIXED}),
    *mixture(tiny.MIXTRAL), *mixture(tiny.QWEN3_MOE), *mixture(tiny.DEEPSEEK), *mixture(tiny.GPT_OSS, "router"),
    Units(tiny.DEEPSEEK, "hidden units of the shared expert", "model.layers.{}.mlp.shared_experts.down_proj", "input",
        refused=WIDTHS),
    Units(tiny.GPT_OSS, "heads", "model.layers.{}.self_attn.o_proj", **HEADS),
    Units(tiny.CLIP, "hidden units", "vision_model.encoder.layers.{}.mlp.fc2", "input"),
    Units(tiny.CLIP, "heads", "text_model.encoder.layers.{}.self_attn.out_proj", **HEADS, refused=ONE_NUMBER),
    Units(tiny.VIT, "hidden units", "blocks.{}.mlp.act"),
    Units(tiny.VIT, "heads", "blocks.{}.attn.proj", **HEADS),
    Units(tiny.RESNET, "channels", "layer{}.0.act1", dim=1, layers=(1,)),
    Units(tiny.TORCHVISION, "channels", "layer{}.0.conv3", "input", dim=1, layers=(1,)),
    Units(tiny.CONVNEXT, "hidden units", "stages.{}.blocks.0.mlp.act", dim=1),
    Units(tiny.HF_CONVNEXT, "hidden units", "convnext.encoder.stages.{}.layers.0.act", refused=NO_WIDTH),
    Units(tiny.HF_CONVNEXT_V2, "hidden units", "convnextv2.encoder.stages.{}.layers.0.pwconv2", "input",
        refused={"expand": RESPONSE, "slice": RESPONSE, "isolate": RESPONSE}),
    Units(tiny.ENCODER, "hidden units", "linear2", "input", layers=(0,)),
    Units(tiny.UNET, "groups of channels", "down_blocks.{}.resnets.0.conv2", "input", 2, dim=1),
    Units(tiny.UNET, "channels", "down_blocks.{}.resnets.0.conv2", "input", dim=1,
        refused={"expand": GROUP, "slice": GROUP, "isolate": GROUP}),
    Units(tiny.UNET, "heads", "down_blocks.0.attentions.0.transformer_blocks.0.attn{}.to_out.0", "input", 4,
        layers=(1, 2)),
    Units(tiny.UNET, "hidden units", "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2", "input", layers=(0,)),
]  # fmt: skip


def model_of(row: Units) -> Any:
    return row.family.build()


def loss_of(row: Units, model: Any) -> Tensor:
    output = row.family.run(model)
    return (output.square() * torch.linspace(-1, 2, output[0].numel()).view(output[0].shape).to(output)).sum()


def route_of(row: Units, size: int) -> Route:
    # Heads that share a key are in one region, so that the key is too.
    return Route(
        **row.place, rule=FieldRule("members", ["low", "high"]), regions={"low": f"0:{size // 2}", "high": "rest"},
        flattened=row.flattened or None,
    )  # fmt: skip


@contextmanager
def by_formula(
    row: Units, model: nn.Module, mask_of: Callable[[torch.Size], Tensor], others: float = 1
) -> Iterator[None]:
    """Replace the routed values by `m * x + (1 - m) * stop_gradient(x)`, wherever a family computes them.

    With `others=0` what has no gradient is zero as well.
    """
    module: Any = model.get_submodule(row.place["module"])

    def routed(x: Tensor) -> Tensor:
        m = mask_of(x.shape).to(x)
        return m * x + others * (1 - m) * x.detach()

    def on_output(_: nn.Module, args: Any, output: Any) -> Any:
        return (routed(output[0]), *output[1:]) if isinstance(output, tuple) else routed(output)

    if row.at == "experts":
        with experts_by_formula(module, mask_of(torch.Size([tiny.SAMPLES * tiny.TOKENS, module.num_experts]))):
            yield
        return
    if row.kind == GATE:
        with gate_by_formula(module, routed):
            yield
        return
    if row.at == "output":
        handle = module.register_forward_hook(on_output)
    else:
        handle = module.register_forward_pre_hook(lambda _, args: (routed(args[0]), *args[1:]))
    yield
    handle.remove()


def blocked_mask(row: Units, units: list[int]) -> Callable[[torch.Size], Tensor]:
    def mask_of(shape: torch.Size) -> Tensor:
        mask = torch.ones(shape)
        entries = [unit * row.unit_size + offset for unit in units for offset in range(row.unit_size)]
        mask.movedim(row.dim, -1)[..., entries] = 0
        return mask

    return mask_of


def members_mask(row: Units, route: Route, members: Tensor) -> Callable[[torch.Size], Tensor]:
    def mask_of(shape: torch.Size) -> Tensor:
        # Matrices of all tokens are those of samples and tokens, one after another.
        apart = torch.Size([tiny.SAMPLES, -1 if not shape[0] else shape[0] // tiny.SAMPLES, *shape[1:]])
        return full_mask(route, members, apart if row.flattened else shape).view(shape)

    return mask_of


def owned(model: nn.Module, row: Units, units: list[int]) -> dict[str, Tensor]:
    """True where the entries of a parameter make units."""
    marks = {name: torch.zeros_like(parameter, dtype=torch.bool) for name, parameter in model.named_parameters()}
    for piece in unit_group(model, **row.place).producers:
        marks[piece.name].index_fill_(piece.dim, torch.tensor(piece.entries(units), dtype=torch.long), True)
    return marks


def check_route(row: Units, folder: Path) -> None:
    """Gradients are those of the formula, and blocked units leave none in exactly the rows that make them."""
    model = model_of(row)
    size = unit_group(model, **row.place).size
    route, loss = route_of(row, size), lambda: loss_of(row, model)
    torch.manual_seed(3)
    members = torch.rand(tiny.SAMPLES, 2, dtype=torch.float64).softmax(-1) * 0.9
    router = Router([route])
    router.attach(model)
    with router.memberships({"low": members[:, 0], "high": members[:, 1]}):
        actual = gradients(model, loss)
    router.detach()
    with by_formula(row, model, members_mask(row, route, members)):
        expected = gradients(model, loss)
    noise = 1e-6 * max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-4, atol=noise, msg=name)
    check_makers(row, model)
    check_readers(row, model)


def check_readers(row: Units, model: nn.Module) -> None:
    """Without the columns that read units the model computes as with zeros in their place."""
    group = unit_group(model, **row.place)
    if group.producers and group.consumers:
        with by_formula(row, model, blocked_mask(row, [0]), others=0):
            expected = row.family.run(model)
        ablate(model, group, [0], mode="zero")
        torch.testing.assert_close(row.family.run(model), expected)


def check_makers(row: Units, model: nn.Module) -> None:
    """Blocked units leave no gradient in exactly the rows that make them, as far as these are known."""
    group = unit_group(model, **row.place)
    free = gradients(model, lambda: loss_of(row, model))
    # Biases of keys have no gradient but noise.
    largest = max(gradient.abs().max() for gradient in free.values())
    noise = largest * (1e-13 if largest.dtype == torch.double else 1e-7)
    # Of units that a norm mixes, several may make up all that it mixes.
    several = [list(range(group.size // 2))] if group.complete else []
    for units in [[0], *several] if group.producers else []:
        mine = owned(model, row, units)
        with by_formula(row, model, blocked_mask(row, units)):
            blocked = gradients(model, lambda: loss_of(row, model))
        for name, gradient in blocked.items():
            reached = free[name].abs() > noise
            assert torch.equal((gradient != 0)[reached], ~mine[name][reached]), name


def check_expand(row: Units, folder: Path) -> None:
    """New units leave what the model computes, and every parameter has an entry for each."""
    model = model_of(row).eval()
    before, old = row.family.run(model), unit_group(model, **row.place)
    group = expand(model, num_units=row.num_units, **row.place)
    assert group.size == old.size + row.num_units
    torch.testing.assert_close(
        row.family.run(model), before, rtol=0, atol=1e-9 if before.dtype == torch.double else 1e-3
    )
    for piece in (*group.producers, *group.consumers):
        assert model.get_parameter(piece.name).shape[piece.dim] > max(piece.entries(range(group.size)))


def check_slice(row: Units, folder: Path) -> None:
    """Without the new units the model is the old one; without old units it computes as with zeros."""
    model = model_of(row).eval()
    group = unit_group(model, **row.place)
    if not row.refused.get("expand"):
        state, shown = {key: value.clone() for key, value in model.state_dict().items()}, str(model)
        config = model.config.to_dict() if row.family.is_saved else None
        larger = expand(model, num_units=row.num_units, init="normal", **row.place)
        ablate(model, larger, range(group.size, larger.size))
        assert str(model) == shown
        assert list(model.state_dict()) == list(state)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert config is None or model.config.to_dict() == config
    units = list(range(max((piece.share for piece in group.producers), default=1)))
    zeroed = model_of(row).eval()
    ablate(model, group, units)
    ablate(zeroed, group, units, mode="zero")
    torch.testing.assert_close(row.family.run(model), row.family.run(zeroed))


def check_isolate(row: Units, folder: Path) -> None:
    """AdamW moves everything but the rows of blocked units."""
    model = model_of(row)
    size = unit_group(model, **row.place).size
    router = Router([route_of(row, size)])
    router.attach(model, isolates=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.3)
    router.guard(optimizer)
    for groups in ({}, {"low": torch.zeros(tiny.SAMPLES), "high": torch.ones(tiny.SAMPLES)}):
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        optimizer.zero_grad()
        with router.memberships(groups) if groups else router.paused():
            torch.autograd.backward(loss_of(row, model))
            reached = {name: p.grad != 0 for name, p in model.named_parameters() if p.grad is not None}
            optimizer.step()
    mine = owned(model, row, list(range(size // 2)))
    for name, parameter in model.named_parameters():
        moved = parameter.detach() != before[name]
        assert not (moved & mine[name]).any(), name
        assert name not in reached or moved[reached[name] & ~mine[name]].all(), name
    router.detach()


def check_load(row: Units, folder: Path) -> None:
    """Expanded in all layers, the model is saved and loaded by transformers as it is."""
    model = model_of(row).eval()
    for layer in row.layers:
        expand(model, num_units=row.num_units, init="normal", **row.place_at(layer))
    model.save_pretrained(folder)
    loaded = type(model).from_pretrained(folder, attn_implementation="eager").to(next(model.parameters()).dtype)
    torch.testing.assert_close(row.family.run(loaded.eval()), row.family.run(model))


def outcome(row: Units, check: str, folder: Path) -> str:
    """The entry of the docs' table: 'yes', or the reason why a check is refused."""
    run = {
        "route": check_route,
        "expand": check_expand,
        "slice": check_slice,
        "isolate": check_isolate,
        "load": check_load,
    }
    if check == "load" and (not row.family.is_saved or "expand" in row.refused):
        return "-"
    if check not in row.refused:
        run[check](row, folder)
        return "yes"
    error, reason = row.refused[check]
    with pytest.raises((ValueError, RuntimeError), match=error):
        run[check](row, folder)
    return f"no: {reason}" if check == "load" else f"refused: {reason}"


def line(row: Units, folder: Path) -> str:
    where = [f"`{row.pattern or row.module.format('*')}`", f"`{row.at}`", str(row.unit_size), str(row.dim)]
    found = [outcome(row, check, folder) for check in CHECKS]
    return f"| {' | '.join([row.family.name, row.kind, *where, *found])} |"


def name(row: Units) -> str:
    return f"{row.family.name}-{row.kind}"


WRITES = bool(os.environ.get("LIGHTNING_VISTA_WRITE_FAMILIES"))
START, END = (
    "<!-- table: written by tests/lightning_vista/routing/test_families.py -->\n",
    "\n<!-- end of the table -->",
)


def table_in_docs() -> list[str]:
    return PAGE.read_text(encoding="utf-8").split(START)[1].split(END)[0].splitlines()


@pytest.mark.skipif(WRITES, reason="the table is being written")
@pytest.mark.parametrize("row", ROWS, ids=name)
def test_the_docs_say_what_is_found(row: Units, tmp_path: Path) -> None:
    assert line(row, tmp_path) in table_in_docs()


@pytest.mark.skipif(WRITES, reason="the table is being written")
def test_the_table_has_a_line_for_each_row() -> None:
    assert len(table_in_docs()) == len(ROWS) + 2  # and two for its head


@pytest.mark.skipif(not WRITES, reason="writes the table only when it is asked to")
def test_write_the_table(tmp_path: Path) -> None:
    columns = ["family", "units", "module", "`at`", "`unit_size`", "`dim`", *CHECKS]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [line(row, tmp_path / str(number)) for number, row in enumerate(ROWS)]
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    PAGE.write_text(f"{before}{START}{chr(10).join(lines)}{END}{rest.split(END)[1]}", encoding="utf-8")

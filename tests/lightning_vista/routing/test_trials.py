"""Expansion works exactly, or is refused before anything changes: one tiny model of each family that is special."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_networks import HEAD_DIM, HIDDEN, VOCABULARY, WIDTH, causal_lm, randomised, timm_model, transformers
from torch import Tensor, nn

from lightning_vista.routing import ParameterSlice, UnitGroup, UnknownStructureError, ablate, expand
from lightning_vista.routing.surgery import trial
from lightning_vista.routing.surgery.parameters import resize, sources_with_new
from lightning_vista.routing.units.parameter_index import ModelIndex

TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": 2,
    "num_attention_heads": 4, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 8, "patch_size": 4,
}  # fmt: skip
IDS = torch.tensor([[1, 2, 5, 4], [4, 1, 1, 2]])
PICTURES = torch.linspace(-1, 1, 2 * 3 * 8 * 8, dtype=torch.float64).view(2, 3, 8, 8)


def olmo2() -> Any:
    return causal_lm(transformers.Olmo2Config(**TEXT, num_key_value_heads=2))


def falcon() -> Any:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    return causal_lm(transformers.FalconConfig(**sizes, ffn_hidden_size=HIDDEN, bos_token_id=0, eos_token_id=0))


def opt() -> Any:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "max_position_embeddings": 16}
    return causal_lm(transformers.OPTConfig(**sizes, **special, ffn_dim=HIDDEN, word_embed_proj_dim=WIDTH, dropout=0.0))


def clip() -> Any:
    config = transformers.CLIPConfig(
        text_config={**TEXT, "max_position_embeddings": 8}, vision_config={**VISION, "intermediate_size": 20}
    )
    return randomised(transformers.CLIPModel(config))


def llava() -> Any:
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**TEXT, num_key_value_heads=2),
        vision_config=transformers.CLIPVisionConfig(**VISION), image_token_index=3,
    )  # fmt: skip
    return randomised(transformers.LlavaForConditionalGeneration(config))


def qwen2_vl() -> Any:
    rope = {"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 10000.0}
    config = transformers.Qwen2VLConfig(
        text_config={**TEXT, "num_key_value_heads": 2, "rope_parameters": rope},
        vision_config={
            "depth": 2, "embed_dim": WIDTH, "hidden_size": WIDTH, "num_heads": 4, "mlp_ratio": 2, "patch_size": 4,
            "in_channels": 3,
        },
        image_token_id=10, video_token_id=11, vision_start_token_id=12, vision_end_token_id=9,
    )  # fmt: skip
    return randomised(transformers.Qwen2VLForConditionalGeneration(config))


def convnext_v2() -> Any:
    config = transformers.ConvNextV2Config(hidden_sizes=[4, 8], depths=[1, 1], num_stages=2, num_labels=3)
    return randomised(transformers.ConvNextV2ForImageClassification(config))


def timm_convnext_v2() -> Any:
    return timm_model("convnextv2_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))


def text(model: Any) -> Tensor:
    logits: Tensor = model(IDS, use_cache=False).logits
    return logits


def both(model: Any) -> Tensor:
    output = model(input_ids=IDS, pixel_values=PICTURES)
    return torch.cat([output.text_embeds, output.image_embeds])


def with_pictures(model: Any) -> Tensor:
    ids = torch.tensor([[1, 3, 3, 3, 3, 5], [3, 3, 3, 3, 2, 2]])
    logits: Tensor = model(input_ids=ids, pixel_values=PICTURES, use_cache=False).logits
    return logits


def patches(model: Any) -> Tensor:
    values = torch.linspace(-1, 1, 16 * 3 * 2 * 4 * 4, dtype=torch.float64).view(16, -1)
    output = model.model.visual(values, grid_thw=torch.tensor([[1, 4, 4]]))
    hidden: Tensor = output.last_hidden_state if hasattr(output, "last_hidden_state") else output
    return hidden


def pictures(model: Any) -> Tensor:
    output = model(PICTURES.repeat_interleave(4, 2).repeat_interleave(4, 3))
    logits: Tensor = getattr(output, "logits", output)
    return logits


Place = dict[str, Any]
HEADS: Place = {"at": "input", "unit_size": HEAD_DIM}
WORKS: list[tuple[Callable[[], Any], Callable[[Any], Tensor], str, Place]] = [
    (olmo2, text, "model.layers.0.mlp.down_proj", {"at": "input"}),
    (opt, text, "model.decoder.layers.0.fc2", {"at": "input"}),
    (falcon, text, "transformer.h.0.mlp.dense_4h_to_h", {"at": "input"}),
    (clip, both, "text_model.encoder.layers.1.mlp.fc2", {"at": "input"}),
    (clip, both, "vision_model.encoder.layers.0.mlp.activation_fn", {}),
    (llava, with_pictures, "model.language_model.layers.0.mlp.down_proj", {"at": "input"}),
    (llava, with_pictures, "model.language_model.layers.0.self_attn.o_proj", HEADS),
    (llava, with_pictures, "model.vision_tower.encoder.layers.0.mlp.fc2", {"at": "input"}),
    (qwen2_vl, text, "model.language_model.layers.1.mlp.down_proj", {"at": "input"}),
    (qwen2_vl, patches, "model.visual.blocks.0.mlp.fc2", {"at": "input"}),
]
REFUSED: list[tuple[Callable[[], Any], Callable[[Any], Tensor], str, Place]] = [
    (olmo2, text, "model.layers.0.self_attn.o_proj", HEADS),
    (convnext_v2, pictures, "convnextv2.encoder.stages.0.layers.0.pwconv2", {"at": "input"}),
    (timm_convnext_v2, pictures, "stages.0.blocks.0.mlp.fc2", {"at": "input", "dim": 1}),
    (timm_convnext_v2, pictures, "stages.0.blocks.0.mlp.act", {"dim": 1}),
]


def name(case: Any) -> str:
    return case.__name__ if callable(case) else ""


@pytest.mark.parametrize(("network", "run", "module", "place"), WORKS, ids=name)
def test_what_is_expanded_computes_the_same(
    network: Callable[[], Any], run: Callable[[Any], Tensor], module: str, place: Place
) -> None:
    model = network().eval()
    before, state, config = run(model), dict(model.state_dict()), model.config.to_dict()
    group = expand(model, module, 4, **place)
    torch.testing.assert_close(run(model), before, rtol=0, atol=1e-12)
    ablate(model, group, range(group.size - 4, group.size))
    assert model.config.to_dict() == config
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("network", "run", "module", "place"), REFUSED, ids=name)
def test_what_is_refused_is_unchanged(
    network: Callable[[], Any], run: Callable[[Any], Tensor], module: str, place: Place
) -> None:
    model = network().eval()
    before, state, shown = run(model), dict(model.state_dict()), str(model)
    with pytest.raises(UnknownStructureError):
        expand(model, module, 4, **place)
    assert (str(model), list(model.state_dict())) == (shown, list(state))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(run(model), before)


@pytest.mark.parametrize(
    ("network", "pattern", "place", "read"),
    [
        (opt, "model.decoder.layers.{}.fc2", {"at": "input"}, lambda config: config.ffn_dim),
        (falcon, "transformer.h.{}.mlp.dense_4h_to_h", {"at": "input"}, lambda config: config.ffn_hidden_size),
        (
            clip,
            "vision_model.encoder.layers.{}.mlp.fc2",
            {"at": "input"},
            lambda config: (config.vision_config.intermediate_size, config.text_config.intermediate_size),
        ),
        (
            llava,
            "model.language_model.layers.{}.mlp.down_proj",
            {"at": "input"},
            lambda config: (config.text_config.intermediate_size, config.vision_config.intermediate_size),
        ),
        (qwen2_vl, "model.visual.blocks.{}.mlp.fc2", {"at": "input"}, lambda config: config.vision_config.mlp_ratio),
    ],
    ids=name,
)
def test_the_configuration_that_describes_the_module_follows(
    network: Callable[[], Any], pattern: str, place: Place, read: Callable[[Any], Any]
) -> None:
    model = network().eval()
    old = read(model.config)
    for layer in range(2):
        assert read(model.config) == old  # while layers differ
        expand(model, pattern.format(layer), 4, **place)
    # A ratio cannot state the new width; the neighbour of a composite configuration stays as it is.
    new = old if network is qwen2_vl else (old[0] + 4, old[1]) if isinstance(old, tuple) else old + 4
    assert read(model.config) == new


def test_the_width_of_a_shared_expert_is_not_that_of_its_configuration() -> None:
    sizes = {"moe_intermediate_size": HIDDEN, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2}
    heads = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4}
    config = transformers.DeepseekV3Config(
        **TEXT, **sizes, **heads, n_group=2, topk_group=1, first_k_dense_replace=0, num_key_value_heads=4
    )
    model = causal_lm(config)
    before = model.config.to_dict()  # type: ignore[operator,union-attr]
    for layer in range(2):
        expand(model, f"model.layers.{layer}.mlp.shared_experts.down_proj", 4, "input")
    assert model.config.to_dict() == before  # type: ignore[operator,union-attr]


class Normed(nn.Module):
    """An MLP that divides by the mean of all of its hidden units, or by a constant of their number."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.c_fc, self.c_proj, self.norm = nn.Linear(4, 8), nn.Linear(8, 4), norm

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.c_proj(self.norm(self.c_fc(x)))
        return output


class MeanNorm(nn.Module):
    """A norm without parameters, for any width."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.abs().mean(-1, keepdim=True)


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        (MeanNorm(), "the model.*got other values.*acts on all units at once"),
        (nn.Unflatten(-1, (8,)), "the model.*RuntimeError.*Nothing was changed"),
        (nn.LayerNorm(8, elementwise_affine=False), "the parameters that make the units are not known"),
        (nn.Softmax(dim=-1), "got other values"),
    ],
)
def test_what_names_and_parameters_do_not_show_is_tried(norm: nn.Module, message: str) -> None:
    model = Normed(norm)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    with pytest.raises(UnknownStructureError, match=message):
        expand(model, "c_proj", 3, "input")
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_new_random_readers_are_tried_as_zeros() -> None:
    model = Normed(nn.Identity())
    assert expand(model, "c_proj", 3, "input", init="normal").size == 11


@pytest.mark.parametrize(
    "module",
    ["model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj"],
)
def test_attentions_and_mlps_of_transformers_can_be_called(module: str) -> None:
    model = causal_lm(transformers.LlamaConfig(**TEXT, num_key_value_heads=2))
    index, path = ModelIndex(model), module.rpartition(".")[0]
    units = UnitGroup(1, (ParameterSlice("x", 0),))
    copied = trial._copied(index.modules[path])
    assert any(trial._run(copied, given) is not None for given in trial._arguments(index, path, units))


def test_the_trial_calls_no_hooks_and_reaches_no_parameter() -> None:
    model = Normed(nn.Identity())
    model.c_fc.register_forward_hook(lambda *_: pytest.fail("a hook was called"))
    weight = model.c_fc.weight
    group = UnitGroup(
        8, (ParameterSlice("c_fc.weight", 0), ParameterSlice("c_fc.bias", 0)), (ParameterSlice("c_proj.weight", 1),)
    )
    resize(model, group, lambda length, pieces: sources_with_new(length, pieces, 8, 2), {}, None, is_exact=True)
    assert torch.equal(model.c_fc.weight[:8], weight)

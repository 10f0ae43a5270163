"""One tiny model of each family whose units are known, with the tensors along which they lie."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tiny_networks import (
    HEAD_DIM,
    HIDDEN,
    VOCABULARY,
    WIDTH,
    encoder_layer,
    randomised,
    timm_model,
    torchvision_network,
)
from torch import Tensor, nn

transformers: Any = importlib.import_module("transformers")  # much of it is untyped
Run = Callable[[Any], Tensor]

SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, **SPECIAL,
}  # fmt: skip
LLAMA: dict[str, Any] = {**SIZES, "intermediate_size": HIDDEN, "num_key_value_heads": 2}
VISION: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 8, "patch_size": 4,
}  # fmt: skip
MIXTURE: dict[str, Any] = {**SIZES, "num_key_value_heads": 4}
SAMPLES, TOKENS = 3, 6


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        name: Its name in the docs.
        build: Builds one with random weights, in training mode without dropout, for which samples are independent.
        run: What it makes of three samples.
        is_saved: Whether it is a model of transformers, which can be saved.
    """

    name: str
    build: Callable[[], Any]
    run: Run
    is_saved: bool = True


@dataclass(frozen=True)
class Units:
    """A tensor of a family's model.

    Attributes:
        family: The family.
        kind: The kind of units, for the docs.
        module: The name of the module, with `{}` for a layer.
        at: As in a route; so are `unit_size` and `dim`.
        layers: The numbers or names of layers.
        refused: The check -> the expected error, and the reason for the docs. Checks are "route", "expand", "slice",
            "isolate" and "load".
        num_units: The number of units to add.
        flattened: Whether the tensor has a row for each token.
        pattern: The pattern of modules for the docs, if it is not `module` with an asterisk.
    """

    family: Family
    kind: str
    module: str
    at: Any = "output"
    unit_size: int = 1
    dim: int = -1
    layers: tuple[int | str, ...] = (0, 1)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    num_units: int = 4
    flattened: bool = False
    pattern: str = ""

    @property
    def place(self) -> dict[str, Any]:
        """The place at the first layer, as arguments of `unit_group` and `expand`."""
        return self.place_at(self.layers[0])

    def place_at(self, layer: int | str) -> dict[str, Any]:
        """The place at one layer."""
        return {
            "module": self.module.format(layer), "at": self.at, "unit_size": self.unit_size, "dim": self.dim,
        }  # fmt: skip


def _ids(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, VOCABULARY, (SAMPLES, TOKENS), generator=generator)


def _pictures(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(SAMPLES, 3, size, size, generator=generator, dtype=torch.float64)


def _logits(model: Any) -> Tensor:
    logits: Tensor = model(_ids(), use_cache=False).logits
    return logits


def _masked_logits(model: Any) -> Tensor:
    logits: Tensor = model(_ids()).logits
    return logits


def _translated(model: Any) -> Tensor:
    logits: Tensor = model(input_ids=_ids(), decoder_input_ids=_ids(3), use_cache=False).logits
    return logits


def _both(model: Any) -> Tensor:
    output = model(input_ids=_ids(), pixel_values=_pictures(8))
    return torch.cat([output.text_embeds, output.image_embeds])


def _classes(size: int) -> Run:
    def run(model: Any) -> Tensor:
        output = model(_pictures(size))
        logits: Tensor = getattr(output, "logits", output)
        return logits

    return run


def _encoded(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    encoded: Tensor = model(torch.randn(SAMPLES, TOKENS, WIDTH, generator=generator, dtype=torch.float64))
    return encoded


def _denoised(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    text = torch.randn(SAMPLES, 5, 8, generator=generator, dtype=torch.float64)
    denoised: Tensor = model(_pictures(8), torch.tensor(7), text).sample
    return denoised


def _text(config: str, model: str = "AutoModelForCausalLM", **sizes: Any) -> Callable[[], Any]:
    """Build a model of transformers from the name of its configuration."""

    def build() -> Any:
        torch.manual_seed(0)
        settings = getattr(transformers, config)(**sizes)
        kind = getattr(transformers, model)
        options = {"attn_implementation": "eager"}
        made = (
            kind.from_config(settings, **options)
            if model.startswith("Auto")
            else kind._from_config(settings, **options)
        )
        return randomised(made).train()

    return build


def _mixture(config: str, **sizes: Any) -> Callable[[], Any]:
    """Build a mixture of experts, whose kernels have no double precision."""
    build = _text(config, **sizes)
    return lambda: build().float()


def _unet() -> Any:
    diffusers: Any = importlib.import_module("diffusers")
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8, attention_head_dim=2,
    )  # fmt: skip
    return randomised(model).train()


def _without_statistics(model: nn.Module) -> Any:
    """Batch norms in evaluation mode: in training samples would influence each other."""
    for module in model.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def _vit() -> Any:
    sizes: dict[str, object] = {"img_size": 8, "patch_size": 4, "embed_dim": WIDTH, "depth": 2, "num_heads": 4}
    return timm_model("vit_tiny_patch16_224", **sizes).train()


def _resnet() -> Any:
    return _without_statistics(timm_model("resnet10t", channels=(8, 8, 8, 12), stem_width=4))


def _convnext() -> Any:
    return timm_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)).train()


def _hf_convnext(version: str) -> Callable[[], Any]:
    sizes = {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2, "num_labels": 3, "image_size": 32}
    return _text(f"{version}Config", f"{version}ForImageClassification", **sizes)


def _clip() -> Any:
    config = transformers.CLIPConfig(
        text_config={**SIZES, "intermediate_size": HIDDEN, "max_position_embeddings": 8},
        vision_config={**VISION, "intermediate_size": 20},
    )
    torch.manual_seed(0)
    return randomised(transformers.CLIPModel(config)).train()


GPT2 = Family("GPT-2", _text("GPT2Config", vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=4, n_inner=HIDDEN,
    n_positions=8, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0),
    _logits)  # fmt: skip
GPT_NEO = Family("GPT-Neo", _text("GPTNeoConfig", vocab_size=VOCABULARY, hidden_size=WIDTH, num_layers=2, num_heads=4,
    intermediate_size=HIDDEN, attention_types=[[["global", "local"], 1]], max_position_embeddings=8, window_size=4,
    resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0, bos_token_id=0, eos_token_id=0), _logits)  # fmt: skip
LLAMA_3 = Family("Llama", _text("LlamaConfig", **LLAMA, attention_bias=True, mlp_bias=True), _logits)
MISTRAL = Family("Mistral", _text("MistralConfig", **LLAMA), _logits)
QWEN3 = Family("Qwen3", _text("Qwen3Config", **LLAMA, head_dim=HEAD_DIM), _logits)
GEMMA = Family("Gemma", _text("GemmaConfig", **LLAMA, head_dim=HEAD_DIM), _logits)
OLMO2 = Family("OLMo 2", _text("Olmo2Config", **LLAMA), _logits)
PHI3 = Family("Phi-3", _text("Phi3Config", **LLAMA), _logits)
PYTHIA = Family("Pythia (GPT-NeoX)", _text("GPTNeoXConfig", **SIZES, intermediate_size=HIDDEN), _logits)
BLOOM = Family("Bloom", _text("BloomConfig", vocab_size=VOCABULARY, hidden_size=WIDTH, n_layer=2, n_head=4,
    **SPECIAL), _logits)  # fmt: skip
FALCON = Family("Falcon (a key for each head)", _text("FalconConfig", **SIZES, ffn_hidden_size=HIDDEN,
    multi_query=False, bias=True), _logits)  # fmt: skip
FALCON_7B = Family("Falcon (7B: one key)", _text("FalconConfig", **SIZES, ffn_hidden_size=HIDDEN), _logits)
FALCON_40B = Family("Falcon (40B: grouped queries)", _text("FalconConfig", **SIZES, ffn_hidden_size=HIDDEN,
    num_kv_heads=2, new_decoder_architecture=True), _logits)  # fmt: skip
OPT = Family("OPT", _text("OPTConfig", **SIZES, ffn_dim=HIDDEN, word_embed_proj_dim=WIDTH, dropout=0.0,
    max_position_embeddings=16), _logits)  # fmt: skip
T5_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "d_model": WIDTH, "d_ff": HIDDEN, "num_layers": 2, "num_heads": 4, "d_kv": HEAD_DIM,
    "dropout_rate": 0.0, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
T5 = Family("T5", _text("T5Config", "T5ForConditionalGeneration", **T5_SIZES), _translated)
FLAN_T5 = Family("T5 1.1, Flan-T5", _text("T5Config", "T5ForConditionalGeneration", **T5_SIZES,
    feed_forward_proj="gated-gelu"), _translated)  # fmt: skip
BERT = Family("BERT", _text("BertConfig", "AutoModelForMaskedLM", **SIZES, intermediate_size=HIDDEN,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=16), _masked_logits)  # fmt: skip
ESM2 = Family("ESM-2", _text("EsmConfig", "AutoModelForMaskedLM", **SIZES, intermediate_size=HIDDEN, mask_token_id=1,
    position_embedding_type="rotary", token_dropout=False, emb_layer_norm_before=False, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0, max_position_embeddings=16), _masked_logits)  # fmt: skip
MAMBA = Family("Mamba", _text("MambaConfig", vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2,
    state_size=4, time_step_rank=3, use_bias=True, **SPECIAL), _logits)  # fmt: skip
MAMBA2 = Family("Mamba 2", _text("Mamba2Config", vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2,
    state_size=4, num_heads=8, head_dim=4, n_groups=2, chunk_size=4, use_bias=True, **SPECIAL), _logits)  # fmt: skip
MIXTRAL = Family(
    "Mixtral", _mixture("MixtralConfig", **MIXTURE, intermediate_size=HIDDEN, num_local_experts=4), _logits
)
QWEN3_MOE = Family("Qwen3-MoE", _mixture("Qwen3MoeConfig", **MIXTURE, intermediate_size=HIDDEN,
    moe_intermediate_size=12, num_experts=4, num_experts_per_tok=2, head_dim=HEAD_DIM), _logits)  # fmt: skip
DEEPSEEK = Family("DeepSeek-V3", _mixture("DeepseekV3Config", **MIXTURE, intermediate_size=HIDDEN,
    moe_intermediate_size=12, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, n_group=1, topk_group=1,
    first_k_dense_replace=0, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4),
    _logits)  # fmt: skip
GPT_OSS = Family("GPT-OSS", _mixture("GptOssConfig", **MIXTURE, intermediate_size=12, num_local_experts=4,
    num_experts_per_tok=2, head_dim=HEAD_DIM, sliding_window=4, attention_bias=True), _logits)  # fmt: skip
CLIP = Family("CLIP", _clip, _both)
VIT = Family("ViT (timm)", _vit, _classes(8), is_saved=False)
RESNET = Family("ResNet (timm)", _resnet, _classes(32), is_saved=False)
TORCHVISION = Family(
    "ResNet (torchvision)", lambda: _without_statistics(torchvision_network()), _classes(32), is_saved=False
)
CONVNEXT = Family("ConvNeXt (timm)", _convnext, _classes(32), is_saved=False)
HF_CONVNEXT = Family("ConvNeXt", _hf_convnext("ConvNext"), _classes(32))
HF_CONVNEXT_V2 = Family("ConvNeXt V2", _hf_convnext("ConvNextV2"), _classes(32))
ENCODER = Family("`nn.TransformerEncoder`", lambda: encoder_layer().train(), _encoded, is_saved=False)
UNET = Family("UNet (diffusers)", _unet, _denoised, is_saved=False)

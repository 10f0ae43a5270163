"""Networks of every structure whose units are known, with random weights; made in milliseconds."""

import importlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

transformers: Any = importlib.import_module("transformers")  # much of it is untyped
VOCABULARY, WIDTH, HEAD_DIM, HIDDEN = 13, 16, 4, 24


def gpt_neo() -> nn.Module:
    config = transformers.GPTNeoConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_layers=2, num_heads=4, intermediate_size=HIDDEN,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=8, window_size=4,
        resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return causal_lm(config)


def gpt2() -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=4, n_inner=HIDDEN, n_positions=8,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return causal_lm(config)


def llama(mlp_bias: bool = True) -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=HIDDEN, max_position_embeddings=8, attention_bias=True, mlp_bias=mlp_bias,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return causal_lm(config)


def causal_lm(config: object) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return randomised(model)


def linear_chain() -> nn.Module:
    return randomised(
        nn.Sequential(
            nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh()),
            nn.Sequential(nn.Dropout(0.0), nn.Linear(8, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)),
        )
    )


def convolutional_chain() -> nn.Module:
    return randomised(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.SiLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(64, 5),
        )
    )  # fmt: skip


def encoder_layer() -> nn.Module:
    return randomised(nn.TransformerEncoderLayer(WIDTH, 4, HIDDEN, dropout=0.0, batch_first=True, norm_first=True))


def timm_model(name: str, **options: object) -> nn.Module:
    model: nn.Module = importlib.import_module("timm").create_model(name, num_classes=3, **options)
    return randomised(model)


def vision_transformer() -> nn.Module:
    sizes: dict[str, object] = {"img_size": 8, "patch_size": 4, "embed_dim": WIDTH, "depth": 2, "num_heads": 4}
    return timm_model("vit_tiny_patch16_224", **sizes, init_values=0.5)


def residual_network() -> nn.Module:
    sizes: dict[str, object] = {"channels": (8, 8, 8, 12), "stem_width": 4}
    return timm_model("resnet10t", **sizes)


def torchvision_network() -> nn.Module:
    resnet: Any = importlib.import_module("torchvision.models.resnet")
    model: nn.Module = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=3, width_per_group=4)
    return randomised(model)


def randomised(model: nn.Module) -> nn.Module:
    """In float64, with weights and biases that leave no gradient zero by chance."""
    torch.manual_seed(0)
    model.double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.4)
    return model


def run(model: nn.Module) -> Tensor:
    """What a model makes of data of the kind that it takes."""
    generator = torch.Generator().manual_seed(1)
    if hasattr(model, "config"):
        output: Tensor = model(torch.randint(VOCABULARY, (2, 8), generator=generator), use_cache=False).logits
        return output
    output = model(torch.randn(input_shape(model), generator=generator, dtype=torch.float64))
    return output


def input_shape(model: nn.Module) -> tuple[int, ...]:
    if isinstance(model, nn.TransformerEncoderLayer):
        return (3, 5, WIDTH)
    first = next(module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    if isinstance(first, nn.Linear):
        return (7, first.in_features)
    size = {"VisionTransformer": 8, "ResNet": 32}.get(type(model).__name__, 12)
    return (4, 3, size, size)


class Tapped(NamedTuple):
    """A tensor whose units are known."""

    network: Callable[[], nn.Module]
    module: str
    at: Literal["output", "input"] = "output"
    unit_size: int = 1
    dim: int = -1

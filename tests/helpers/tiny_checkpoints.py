"""Checkpoints with random weights, small, in the formats of transformers, open_clip and ViCLIP."""

import importlib
import json
import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import BaseImageProcessor, PreTrainedConfig, PreTrainedTokenizerBase

open_clip: Any = importlib.import_module("open_clip")  # it is untyped
transformers: Any = importlib.import_module("transformers")  # much of it is untyped
SIZE, TEXT_LENGTH = 32, 24
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
LETTERS = list(string.ascii_lowercase + string.ascii_uppercase + string.digits + ",.")


def clip_tokenizer() -> PreTrainedTokenizerBase:
    pieces = LETTERS + [f"{letter}</w>" for letter in LETTERS] + ["<|startoftext|>", "<|endoftext|>"]
    tokenizer: PreTrainedTokenizerBase = transformers.CLIPTokenizer({p: number for number, p in enumerate(pieces)}, [])
    return tokenizer


def siglip_tokenizer(lower_case: bool = True) -> PreTrainedTokenizerBase:
    vocabulary = {piece: number for number, piece in enumerate(["<unk>", "</s>", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    if lower_case:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>", "model_input_names": ["input_ids"]}
    wrapped: PreTrainedTokenizerBase = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    return wrapped


def siglip2_tokenizer() -> PreTrainedTokenizerBase:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    settings = {"padding_side": "right", "model_input_names": ["input_ids"]}
    tokenizer: PreTrainedTokenizerBase = transformers.Siglip2Tokenizer(vocabulary, [], **settings)
    return tokenizer


def save(
    folder: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, image_processor: BaseImageProcessor
) -> str:
    """A checkpoint with random weights that tell frames and texts apart."""
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    randomize(model)
    for part in (model, tokenizer, image_processor):
        part.save_pretrained(folder)
    return str(folder)


def randomize(model: nn.Module) -> None:
    """Weights that are large enough to tell inputs apart."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)


def save_clip(folder: Path, **processor: object) -> str:
    tokenizer = clip_tokenizer()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = TOWER | ends | {"vocab_size": len(tokenizer), "max_position_embeddings": TEXT_LENGTH, "pad_token_id": 0}
    vision = TOWER | {"image_size": SIZE, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    settings = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}} | processor
    return save(folder, config, tokenizer, transformers.CLIPImageProcessor(**settings))


def save_siglip(folder: Path, tokenizer: PreTrainedTokenizerBase, **processor: object) -> str:
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": TEXT_LENGTH, "projection_size": 16}
    text |= {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": tokenizer.pad_token_id}
    vision = TOWER | {"image_size": SIZE, "patch_size": 8}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    image_processor = transformers.SiglipImageProcessor(size={"height": SIZE, "width": SIZE}, **processor)
    return save(folder, config, tokenizer, image_processor)


OPEN_CLIP_TEXT = {"context_length": TEXT_LENGTH, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
OPEN_CLIP_VISION = {"image_size": SIZE, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}


def save_open_clip(
    folder: Path, vision: dict[str, Any] | None = None, embed_dim: int = 12, **preprocessing: object
) -> str:
    """The name of a folder in open_clip's format; `vision` in place of its own vision tower."""
    settings = {"embed_dim": embed_dim, "vision_cfg": vision or OPEN_CLIP_VISION, "text_cfg": OPEN_CLIP_TEXT}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings, "preprocess_cfg": preprocessing}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}")
    randomize(model)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return f"local-dir:{folder}"


def save_pe_core(folder: Path) -> str:
    """The smallest Perception Encoder in open_clip's format: its own vision tower, which timm makes in one size."""
    vision = {"timm_model_name": "vit_pe_core_tiny_patch16_384", "timm_pool": "map", "timm_proj": None}
    settings: dict[str, object] = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    sizes = {"image_size": 384, "timm_model_pretrained": False}
    return save_open_clip(folder, vision | sizes, embed_dim=512, resize_mode="squash", **settings)


def viclip_shapes(vision: dict[str, int], text: dict[str, int], dim: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the tensors of a published ViCLIP."""
    wide, narrow = vision["width"], text["width"]
    shapes: dict[str, tuple[int, ...]] = {
        "temp": (),
        "vision_encoder.conv1.weight": (wide, 3, 1, vision["patch_size"], vision["patch_size"]),
        "vision_encoder.class_embedding": (wide,),
        "vision_encoder.positional_embedding": (vision["patches"] + 1, wide),
        "vision_encoder.temporal_positional_embedding": (1, 8, wide),
        "vision_encoder.proj": (wide, dim),
        "text_encoder.token_embedding.weight": (49408, narrow),
        "text_encoder.positional_embedding": (32, narrow),
        "text_encoder.text_projection": (narrow, dim),
    }
    norms = {"vision_encoder.ln_pre": wide, "vision_encoder.ln_post": wide, "text_encoder.ln_final": narrow}
    for tower, width, layers in (("vision", wide, vision["layers"]), ("text", narrow, text["layers"])):
        for number in range(layers):
            block = f"{tower}_encoder.transformer.resblocks.{number}"
            shapes |= {
                f"{block}.attn.in_proj_weight": (3 * width, width),
                f"{block}.attn.in_proj_bias": (3 * width,),
                f"{block}.attn.out_proj.weight": (width, width),
                f"{block}.attn.out_proj.bias": (width,),
                f"{block}.mlp.c_fc.weight": (4 * width, width),
                f"{block}.mlp.c_fc.bias": (4 * width,),
                f"{block}.mlp.c_proj.weight": (width, 4 * width),
                f"{block}.mlp.c_proj.bias": (width,),
            }
            norms |= {f"{block}.ln_1": width, f"{block}.ln_2": width}
    for norm, width in norms.items():
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return shapes


def tiny_viclip() -> dict[str, Tensor]:
    """The tensors of a ViCLIP for 32x32 pixels, with two heads in its vision tower and one in its text tower."""
    vision = {"width": 128, "layers": 2, "patch_size": 16, "patches": (SIZE // 16) ** 2}
    shapes = viclip_shapes(vision, {"width": 64, "layers": 2}, dim=12)
    generator = torch.Generator().manual_seed(0)
    # A patch has hundreds of numbers: with large weights for these, positions and moments would not count.
    scales = {name: 0.02 if "conv1" in name else 0.2 for name in shapes}
    return {name: torch.randn(shape, generator=generator) * scales[name] for name, shape in shapes.items()}


def save_viclip(folder: Path) -> str:
    """A checkpoint as published."""
    path = folder / "ViCLIP-tiny.pth"
    torch.save({"model": tiny_viclip()}, path)
    return str(path)

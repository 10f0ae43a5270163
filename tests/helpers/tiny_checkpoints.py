"""Checkpoints with random weights, a few kilobytes each, in transformers' format."""

import importlib
import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BaseImageProcessor, PreTrainedConfig, PreTrainedTokenizerBase

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
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    for part in (model, tokenizer, image_processor):
        part.save_pretrained(folder)
    return str(folder)


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

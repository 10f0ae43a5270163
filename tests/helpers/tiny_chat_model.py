"""An image-text model with random weights, a few kilobytes, in transformers' format."""

import importlib
import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

transformers: Any = importlib.import_module("transformers")  # much of it is untyped
SIZE, PATCH = 16, 8
#: User and assistant in turns, images where they stand; as strict about turns as many published templates.
TEMPLATE = (
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}"
    "{% endif %}<{{ message['role'] }}>"
    "{% for part in message['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def save_llava(folder: Path) -> str:
    """A LLaVA with a tokenizer of single characters."""
    special = ["<pad>", "</s>", "<unk>", "<image>", "<user>", "<assistant>"]
    vocabulary = {piece: number for number, piece in enumerate([*special, *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=100_000
    )
    wrapped.chat_template = TEMPLATE
    images = transformers.CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor = transformers.LlavaProcessor(
        images, wrapped, patch_size=PATCH, num_additional_image_tokens=1, vision_feature_select_strategy="default"
    )
    processor.chat_template = TEMPLATE
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    text = transformers.LlamaConfig(**tower, **ends, vocab_size=len(vocabulary), max_position_embeddings=8192)
    vision = transformers.CLIPVisionConfig(**tower, image_size=SIZE, patch_size=PATCH)
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, **ends)
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def save_idefics3(folder: Path) -> str:
    """An Idefics3, whose processor cuts pictures into tiles of 16x16 pixels, one token each."""
    special = ["<pad>", "</s>", "<unk>", "<image>", "<user>", "<assistant>"]
    special += ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<think>", "</think>"]
    vocabulary = {piece: number for number, piece in enumerate([*special, *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=100_000
    )
    images = transformers.Idefics3ImageProcessor(size={"longest_edge": 2 * SIZE}, max_image_size={"longest_edge": SIZE})
    processor = transformers.Idefics3Processor(images, wrapped, image_seq_len=1, chat_template=TEMPLATE)
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    text = transformers.LlamaConfig(**tower, **ends, vocab_size=len(vocabulary), max_position_embeddings=8192)
    vision = {**tower, "image_size": SIZE, "patch_size": PATCH}
    config = transformers.Idefics3Config(
        vision_config=vision, text_config=text, image_token_id=3, scale_factor=2, tie_word_embeddings=False, **ends
    )
    torch.manual_seed(0)
    transformers.Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)

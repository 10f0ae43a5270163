"""Small image-text models with random weights: three Qwens and SmolVLM, which take videos, and Gemma 3."""

import importlib
import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel

transformers: Any = importlib.import_module("transformers")  # much of it is untyped
#: Words from which the tokenizers learn tokens of several letters.
WORDS = (
    "These are frames of one video, in the order in which they were filmed. Claim: We see a ball and then a cup. "
    "Does the claim describe the video as a whole? Answer Yes or No. True or False. Which candidate? A: B: C: assistant"
)
VISION = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
#: The form of Qwen's own template.
QWEN = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: The form of SmolVLM's own template: the prompt ends in a colon, and an answer begins with a space.
SMOL = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{{ ':' if message['content'][0]['type'] == 'image' else ': ' }}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
#: The form of Gemma's own template.
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{{ '<start_of_image>' if part['type'] == 'image' else part['text'] | trim }}{% endfor %}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
NORMALISED = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def bytes_tokenizer(special: list[str], **names: object) -> Any:
    """A tokenizer of bytes that are merged as in GPT-2, so that borders between words matter."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([WORDS, string.printable], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=100_000, **names)


def save(folder: Path, model: PreTrainedModel, processor: Any) -> str:
    """A checkpoint whose weights are large enough to tell inputs apart."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.02 if "patch_embed" in name else 0.2)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def qwen_parts(version: str) -> tuple[Any, dict[str, Any]]:
    """The processor of a Qwen, and the ids that its configuration names."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISION]
    tokenizer = bytes_tokenizer(special, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    patch = 14 if version == "2.5" else 16
    sizes = {"shortest_edge": 2 * (2 * patch) ** 2, "longest_edge": 64 * (2 * patch) ** 2}
    settings = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2, "size": sizes, **NORMALISED}
    images = transformers.Qwen2VLImageProcessor(**settings)
    named = "Qwen3VL" if version == "3" else "Qwen2VL"
    videos = getattr(transformers, f"{named}VideoProcessor")(**settings)
    kind = transformers.Qwen3VLProcessor if version == "3" else transformers.Qwen2_5_VLProcessor
    ids = {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        "vocab_size": len(tokenizer),
    }
    return kind(images, tokenizer, videos, chat_template=QWEN), ids


def text_settings(ids: dict[str, Any]) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], "mrope_interleaved": True}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return {
        **TOWER,
        **ends,
        "vocab_size": ids["vocab_size"],
        "num_key_value_heads": 1,
        "head_dim": 16,
        "rope_parameters": rope,
        "max_position_embeddings": 32768,
    }


def save_qwen2_5_vl(folder: Path) -> str:
    """A Qwen2.5-VL."""
    processor, ids = qwen_parts("2.5")
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
    }
    vision |= {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1], "tokens_per_second": 4}
    text = text_settings(ids)
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    torch.manual_seed(0)
    return save(folder, transformers.Qwen2_5_VLForConditionalGeneration(config), processor)


def save_qwen3_vl(folder: Path, width: int = 32, layers: int = 2) -> str:
    """A Qwen3-VL, whose processor writes the times of frames into the prompt."""
    processor, ids = qwen_parts("3")
    sizes = {"hidden_size": width, "intermediate_size": 3 * width // 2}
    vision: dict[str, Any] = {**sizes, "depth": layers, "num_heads": width // 16, "out_hidden_size": width}
    vision |= {"patch_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    text = text_settings(ids) | sizes | {"num_hidden_layers": layers, "num_attention_heads": width // 16}
    config = transformers.Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    torch.manual_seed(0)
    return save(folder, transformers.Qwen3VLForConditionalGeneration(config), processor)


def save_smolvlm(folder: Path) -> str:
    """A SmolVLM."""
    special = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>", "<video>"]
    tokenizer = bytes_tokenizer(special, eos_token="<end_of_utterance>", pad_token="<|im_start|>")
    tokenizer.image_token, tokenizer.video_token = "<image>", "<video>"
    sizes = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 32}}
    sampling = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 32}}
    videos = transformers.SmolVLMVideoProcessor(video_sampling=sampling, **sizes)
    images = transformers.SmolVLMImageProcessor(**sizes)
    processor = transformers.SmolVLMProcessor(images, tokenizer, videos, image_seq_len=4, chat_template=SMOL)
    vision = {**TOWER, "image_size": 32, "patch_size": 8}
    text = transformers.LlamaConfig(
        **TOWER, vocab_size=len(tokenizer), max_position_embeddings=32768, pad_token_id=0, bos_token_id=None
    )
    config = transformers.SmolVLMConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    return save(folder, transformers.SmolVLMForConditionalGeneration(config), processor)


def save_qwen3_5(folder: Path) -> str:
    """A Qwen3.5, every other layer of which is linear attention."""
    processor, ids = qwen_parts("3")
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"patch_size": 16, "num_position_embeddings": 16}
    linear = {f"linear_{name}_head_dim": 16 for name in ("key", "value")}
    linear |= {f"linear_num_{name}_heads": 2 for name in ("key", "value")}
    layers = {"num_hidden_layers": 4, "layer_types": ["linear_attention", "full_attention"] * 2}
    text = text_settings(ids) | linear | layers
    text["rope_parameters"]["partial_rotary_factor"] = 1.0
    config = transformers.Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    torch.manual_seed(0)
    return save(folder, transformers.Qwen3_5ForConditionalGeneration(config), processor)


def save_gemma3(folder: Path) -> str:
    """A Gemma 3: sliding windows, and attention in both directions within a picture."""
    media = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    ends = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<end_of_turn>"}
    special = [*ends.values(), "<start_of_turn>", *media.values()]
    tokenizer = bytes_tokenizer(special, **ends, extra_special_tokens=media)
    images = transformers.Gemma3ImageProcessor(size={"height": 32, "width": 32})
    processor = transformers.Gemma3Processor(images, tokenizer, chat_template=GEMMA, image_seq_length=4)
    layers = {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 16}
    text = {
        **TOWER,
        **layers,
        "vocab_size": len(tokenizer),
        "num_key_value_heads": 1,
        "head_dim": 16,
        "pad_token_id": 0,
    }
    ids = {"boi_token_index": "boi_token", "eoi_token_index": "eoi_token", "image_token_index": "image_token"}
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
        **{key: tokenizer.convert_tokens_to_ids(media[name]) for key, name in ids.items()},
    )
    torch.manual_seed(0)
    return save(folder, transformers.Gemma3ForConditionalGeneration(config), processor)

"""What a user brings: texts in a JSONL file, and a folder with a model and its tokenizer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM

from lightning_vista.text import word_tokenizer


def write_own_model(folder: Path, texts: Sequence[Mapping[str, Any]]) -> None:
    """Write `my_texts.jsonl` with these texts, and a tiny Llama with a token for each of their words to `my_model/`."""
    (folder / "my_texts.jsonl").write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
    tokenizer = word_tokenizer(text["text"] for text in texts)
    tokenizer.save_pretrained(folder / "my_model")
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model("llama", vocab_size=len(tokenizer), num_key_value_heads=1, **sizes)
    builder: Any = AutoModelForCausalLM
    builder.from_config(config).save_pretrained(folder / "my_model")

"""A tiny language model with the structure of Llama."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY, WIDTH, LAYERS = 30, 8, 4


def tiny_llama(model_type: str = "llama", **options: Any) -> Any:
    """Return the model, in double precision, with weights large enough that every layer matters."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 12,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
    }
    sizes |= {"num_key_value_heads": 1, "vocab_size": VOCABULARY, "initializer_range": 0.4, "tie_word_embeddings": True}
    builder: Any = AutoModelForCausalLM
    return builder.from_config(AutoConfig.for_model(model_type, **sizes | options)).double()

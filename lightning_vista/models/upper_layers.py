"""A model of transformers in two parts: frozen lower layers, and the upper ones that are trained."""

from typing import Any

import torch
from torch import Tensor, nn

#: Architectures whose layers get nothing but the states of the layer before, a mask and rotary positions.
_TYPES = ("llama", "mistral")


def keep_lower_layers(model: Any, num_upper: int) -> nn.Module:
    """Reduce a language model to its lower layers, in place.

    Args:
        model: A causal language model of transformers.
        num_upper: Number of the last layers to drop, with everything behind them.

    Returns:
        The lower part. It takes `input_ids` and `attention_mask` and returns the states after its last layer as
        `last_hidden_state` `(batch, tokens, width)`.

    Raises:
        ValueError: If the architecture is unknown, or no layers would be left.
    """
    decoder = _decoder(model, num_upper)
    decoder.layers = decoder.layers[:-num_upper]
    decoder.config.num_hidden_layers = len(decoder.layers)
    decoder.norm = nn.Identity()  # belongs behind the last of all layers
    lower: nn.Module = decoder
    return lower


def keep_upper_layers(model: Any, num_upper: int) -> None:
    """Reduce a language model to its upper layers, in place: it takes hidden states as `inputs_embeds`.

    Args:
        model: A causal language model of transformers.
        num_upper: Number of the last layers to keep, with everything behind them.

    Raises:
        ValueError: If the architecture is unknown, or no lower layers would be left.
    """
    decoder = _decoder(model, num_upper)
    decoder.layers = decoder.layers[-num_upper:]
    decoder.config.num_hidden_layers = num_upper


def cut_vocabulary(model: Any, tokens: Tensor) -> None:
    """Reduce the output of a language model to some tokens, in place; their number is their place in `tokens`.

    The other tokens can no longer be predicted: their probability falls to these. Input embeddings are cut alike and
    are no longer tied to the output.

    Args:
        model: A causal language model of transformers whose output layer has no bias.
        tokens: The tokens to keep, ascending `(count,)`.
    """
    rows = model.get_output_embeddings().weight.detach()[tokens]
    embeddings = model.get_input_embeddings().weight.detach()[tokens]
    output = nn.Linear(rows.shape[1], len(tokens), bias=False)
    output.weight = nn.Parameter(rows)
    model.config.tie_word_embeddings = False
    model.config.vocab_size = len(tokens)
    model.set_input_embeddings(nn.Embedding.from_pretrained(embeddings, freeze=False))
    model.set_output_embeddings(output)


def _decoder(model: Any, num_upper: int) -> Any:
    """Return the stack of layers, if it can be divided."""
    if model.config.model_type not in _TYPES:
        raise ValueError(
            f"`checkpoint`: expected a model of one of the types {', '.join(_TYPES)}, got {model.config.model_type!r}. "
            "Others may do more between layers than pass on the states: train them as a whole, with `freeze`."
        )
    decoder = model.base_model
    if not 0 < num_upper < len(decoder.layers):
        raise ValueError(
            f"`num_layers`: expected a number from 1 to {len(decoder.layers) - 1}, so that some of the model's "
            f"{len(decoder.layers)} layers are left below, got {num_upper}."
        )
    return decoder


@torch.no_grad()
def lower_states(lower: nn.Module, texts: list[Tensor], batch_size: int = 64) -> list[Tensor]:
    """Compute the states of texts after the lower layers.

    Args:
        lower: The lower part, see `keep_lower_layers`.
        texts: Tokens of each text `(length,)`.
        batch_size: Number of texts that go through the model at a time.

    Returns:
        The states of each text `(length, width)`.
    """
    states: dict[int, Tensor] = {}
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # alike lengths need little padding
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        rows = [texts[place].long() for place in places]
        # Padding on the right: no token sees what comes after it, so that any token will do.
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        output = lower(input_ids=ids, use_cache=False).last_hidden_state
        states |= {place: part[: len(row)].clone() for place, row, part in zip(places, rows, output, strict=True)}
    return [states[place] for place in range(len(texts))]

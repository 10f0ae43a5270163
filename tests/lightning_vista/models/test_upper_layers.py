"""Upper layers on hidden states do what the whole model does with frozen lower layers."""

import copy
from typing import Any

import pytest
import torch
from tiny_llama import LAYERS, VOCABULARY, tiny_llama
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from lightning_vista.models.upper_layers import cut_vocabulary, keep_lower_layers, keep_upper_layers, lower_states


def texts(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 20, (length,), generator=generator).int() for length in (5, 9, 2, 7, 9)]


def padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Tokens and the mask without padding."""
    ids = nn.utils.rnn.pad_sequence([row.long() for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def losses(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    each = cross_entropy(logits[:, :-1].transpose(1, 2), targets[:, 1:], reduction="none")
    return each[mask[:, 1:]]


@pytest.mark.parametrize("model_type", ["llama", "mistral"])
@pytest.mark.parametrize("num_upper", [1, 3])
def test_losses_and_gradients_are_those_of_the_whole_model(model_type: str, num_upper: int) -> None:
    whole = tiny_llama(model_type)
    upper, lower = copy.deepcopy(whole), keep_lower_layers(copy.deepcopy(whole), num_upper)
    keep_upper_layers(upper, num_upper)
    rows = texts()
    ids, mask = padded(rows)
    states = nn.utils.rnn.pad_sequence(lower_states(lower, rows, batch_size=2), batch_first=True)
    expected = losses(whole(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits, ids, mask)
    got = losses(upper(inputs_embeds=states, attention_mask=mask.long(), use_cache=False).logits, ids, mask)
    torch.testing.assert_close(got, expected)
    expected.mean().backward()
    got.mean().backward()
    compared = 0
    for name, parameter in upper.model.layers.named_parameters():
        number, rest = name.split(".", 1)
        other = whole.model.layers[int(number) + LAYERS - num_upper].get_parameter(rest)
        torch.testing.assert_close(parameter.grad, other.grad)
        compared += int(other.grad.norm() > 1e-6)
    assert compared == 9 * num_upper
    torch.testing.assert_close(upper.model.norm.weight.grad, whole.model.norm.weight.grad)


def test_a_cut_vocabulary_is_one_whose_other_tokens_are_impossible() -> None:
    whole = tiny_llama()
    cut = copy.deepcopy(whole)
    tokens = torch.tensor([2, 3, 5, 8, 13, 21])
    cut_vocabulary(cut, tokens)
    places = torch.tensor([[0, 3, 5, 1], [4, 4, 2, 0]])
    mask = torch.ones_like(places).bool()
    logits = whole(input_ids=tokens[places], use_cache=False).logits
    others = torch.ones(VOCABULARY, dtype=torch.bool)
    others[tokens] = False
    expected = losses(logits.masked_fill(others, float("-inf")), tokens[places], mask)
    torch.testing.assert_close(losses(cut(input_ids=places, use_cache=False).logits, places, mask), expected)
    assert cut.config.vocab_size == len(cut.get_output_embeddings().weight) == 6
    assert cut.get_output_embeddings().weight is not cut.get_input_embeddings().weight


@pytest.mark.parametrize("num_upper", [0, LAYERS, -1])
def test_both_parts_have_layers(num_upper: int) -> None:
    for divide in (keep_lower_layers, keep_upper_layers):
        with pytest.raises(ValueError, match=f"`num_layers`: expected a number from 1 to 3, .* got {num_upper}"):
            divide(tiny_llama(), num_upper)


def test_models_that_do_more_between_layers_are_refused() -> None:
    builder: Any = AutoModelForCausalLM
    model = builder.from_config(AutoConfig.for_model("gpt2", n_embd=8, n_layer=2, n_head=2, vocab_size=20))
    with pytest.raises(ValueError, match="expected a model of one of the types llama, mistral, got 'gpt2'"):
        keep_upper_layers(model, 1)

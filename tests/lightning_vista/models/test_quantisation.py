import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM

from lightning_vista.models.language_model import build_model
from lightning_vista.models.quantisation import Rounding, quantise, round_weights


@given(st.integers(1, 5), st.integers(1, 9), st.sampled_from([None, 1, 4]), st.sampled_from([4, 8]), st.integers(0, 99))
def test_each_group_is_rounded_weight_by_weight(
    rows: int, columns: int, group: int | None, bits: int, seed: int
) -> None:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    weight[0] *= seed % 2  # a row of zeros too
    found = round_weights(weight, Rounding(bits, group))
    for row in range(rows):
        for start in range(0, columns, group or columns):
            part = weight[row, start : start + (group or columns)].tolist()
            scale = max(map(abs, part)) / (2 ** (bits - 1) - 1)
            expected = [scale * round(value / scale) if scale else 0.0 for value in part]
            assert found[row, start : start + len(part)].tolist() == pytest.approx(expected, abs=1e-6)


def test_few_different_weights_are_left_in_the_linear_layers_alone() -> None:
    for model_type, sizes in (
        ("gpt2", {"n_embd": 32, "n_layer": 1, "n_head": 2}),  # Conv1D, and a head that shares the embedding
        ("llama", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}),
    ):
        model = build_model(
            model_type, {**sizes, "vocab_size": 50, "bos_token_id": None, "eos_token_id": None}, AutoModelForCausalLM
        )
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        share = quantise(model, Rounding(4))
        rounded = 0
        for name, parameter in model.named_parameters():
            is_inner = parameter.dim() == 2 and not any(word in name for word in ("wte", "wpe", "embed", "lm_head"))
            assert torch.equal(parameter, before[name]) != is_inner, name
            if is_inner:
                outputs = parameter.T if model_type == "gpt2" else parameter
                assert max(len(row.unique()) for row in outputs.detach()) <= 15
                rounded += parameter.numel()
        assert share == rounded / sum(parameter.numel() for parameter in model.parameters())


def test_a_module_without_linear_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="expected linear layers to quantise, got none in Embedding"):
        quantise(nn.Embedding(2, 2), Rounding(8))

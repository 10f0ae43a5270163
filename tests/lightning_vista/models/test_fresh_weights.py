import torch
from torch import nn
from transformers import AutoModelForCausalLM

from lightning_vista.models.fresh_weights import corrupt, fresh_weights
from lightning_vista.models.language_model import build_model


def test_models_of_transformers_begin_as_they_would() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = build_model("llama", {**sizes, "vocab_size": 200, "initializer_range": 0.3}, AutoModelForCausalLM)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    random = torch.get_rng_state()
    fresh = fresh_weights(nn.ModuleDict({"model": model}), seed=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert set(fresh) == {f"model.{name}" for name, _ in model.named_parameters()}
    assert fresh["model.model.norm.weight"].eq(1).all()
    matrices = torch.cat([weight.flatten() for weight in fresh.values() if weight.dim() == 2])
    assert abs(float(matrices.std()) - 0.3) < 0.01
    assert all(parameter.eq(7.0).all() for parameter in model.parameters()), "the model itself stays"
    again, other = (fresh_weights(nn.ModuleDict({"model": model}), seed)["model.lm_head.weight"] for seed in (1, 2))
    assert torch.equal(again, fresh["model.lm_head.weight"])
    assert not torch.equal(again, other)


def test_frozen_weights_are_not_corrupted() -> None:
    frozen, trained = nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 2)
    before = frozen.weight.clone(), trained.weight.detach().clone()
    layers = nn.Sequential(frozen, trained)
    corrupt(layers, fresh_weights(layers), alpha=0.5, beta=0.1)
    assert torch.equal(frozen.weight, before[0])
    assert not torch.equal(trained.weight, before[1])


def test_tied_weights_are_corrupted_once() -> None:
    sizes = {"hidden_size": 8, "num_layers": 1, "attention_types": [[["global"], 1]], "num_heads": 2, "vocab_size": 20}
    model = build_model("gpt_neo", {**sizes, "bos_token_id": None, "eos_token_id": None}, AutoModelForCausalLM)
    before, noise = model.lm_head.weight.detach().clone(), fresh_weights(model)
    corrupt(model, noise, alpha=0.5, beta=0.1)
    assert model.lm_head.weight is model.transformer.wte.weight
    expected = 0.5 * before + 0.05 * noise["transformer.wte.weight"]
    torch.testing.assert_close(model.lm_head.weight.detach(), expected)

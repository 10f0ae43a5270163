from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_vista.models.token_masking import mask_tokens

MASK = 1
WORDS = torch.arange(5, 25)


def rows(count: int = 4000, length: int = 30) -> Tensor:
    return WORDS[torch.randint(len(WORDS), (count, length), generator=torch.Generator().manual_seed(0))]


def masked(tokens: Tensor, candidates: Tensor | None = None, **options: Any) -> tuple[Tensor, Tensor]:
    every = torch.ones_like(tokens, dtype=torch.bool)
    return mask_tokens(tokens, every if candidates is None else candidates, MASK, WORDS, **options)


def chi_square(observed: list[float], expected: list[float]) -> float:
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


def test_shares_are_those_of_bert() -> None:
    tokens = rows()
    inputs, chosen = masked(tokens)
    assert torch.equal(inputs[~chosen], tokens[~chosen])
    count = float(chosen.sum())
    # At least one of 30 tokens: the probability of a row without any is 0.85 ** 30.
    share = 0.15 + 0.85**30 / 30
    assert chi_square([count, tokens.numel() - count], [share * tokens.numel(), (1 - share) * tokens.numel()]) < 6.6
    words, hidden = tokens[chosen], inputs[chosen]
    fates = [float((hidden == MASK).sum()), float(((hidden != MASK) & (hidden != words)).sum())]
    fates.append(count - sum(fates))
    same = 0.1 / len(WORDS)  # a random token may be the same
    assert chi_square(fates, [0.8 * count, (0.1 - same) * count, (0.1 + same) * count]) < 9.2
    substitutes = Counter(hidden[(hidden != MASK) & (hidden != words)].tolist())
    assert set(substitutes) == set(WORDS.tolist())
    assert chi_square([float(n) for n in substitutes.values()], [fates[1] / len(WORDS)] * len(WORDS)) < 40


@pytest.mark.parametrize("other", [{"seed": 1}, {"draw": 1}])
def test_other_seeds_and_draws_are_independent(other: dict[str, Any]) -> None:
    tokens = rows()
    both = (masked(tokens)[1] & masked(tokens, **other)[1]).float().mean()
    assert float(both) == pytest.approx(0.15**2, abs=0.002)


def test_places_are_chosen_alike_and_independently() -> None:
    chosen = masked(rows())[1].double()
    assert chosen.mean(dim=0).sub(chosen.mean()).abs().max() < 4 * (0.15 * 0.85 / len(chosen)) ** 0.5
    correlations = torch.corrcoef(chosen.T) - torch.eye(chosen.shape[1])
    assert correlations.abs().max() < 5 / len(chosen) ** 0.5


def test_a_text_is_masked_alike_in_any_batch_and_with_any_padding() -> None:
    tokens = rows(6, 10)
    inputs, chosen = masked(tokens)
    for row in range(6):
        padded = torch.cat([tokens[row], torch.zeros(4, dtype=torch.long)]).unsqueeze(0)
        alone, alone_chosen = masked(padded, padded > 0)
        assert torch.equal(alone[0, :10], inputs[row])
        assert torch.equal(alone_chosen[0], torch.cat([chosen[row], torch.zeros(4, dtype=torch.bool)]))


def test_a_short_text_has_a_chosen_token_and_an_empty_one_has_none() -> None:
    tokens = rows(200, 2)
    candidates = torch.ones_like(tokens, dtype=torch.bool)
    candidates[:100] = False
    inputs, chosen = masked(tokens, candidates, probability=1e-9)
    assert chosen.sum(dim=1).tolist() == [0] * 100 + [1] * 100
    assert torch.equal(inputs[:100], tokens[:100])

"""Random masks of tokens that depend on nothing but the text, a seed and a number."""

import torch
from torch import Tensor

#: Odd numbers of 64 bits, as signed ones: the golden ratio, and the two of the finalizer of MurmurHash3.
_GOLDEN, _FIRST, _SECOND = (number - 2**64 for number in (0x9E3779B97F4A7C15, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53))
#: Bits of a random number; single precision has all of them.
_BITS = 24


def mask_tokens(
    tokens: Tensor,
    candidates: Tensor,
    mask_token: int,
    ordinary: Tensor,
    probability: float = 0.15,
    shares: tuple[float, float] = (0.8, 0.1),
    seed: int = 0,
    draw: int | Tensor = 0,
) -> tuple[Tensor, Tensor]:
    """Choose tokens to predict, and hide them from the model (BERT, arXiv 1810.04805, section 3.1).

    The same text, seed and draw give the same choice: on any device, in any process, and in a batch of any other texts.

    Args:
        tokens: The tokens, `(batch, tokens)`.
        candidates: Whether a token may be chosen, `(batch, tokens)`; false at padding and special tokens.
        mask_token: The token in place of most chosen ones.
        ordinary: The tokens that may stand in for others, `(n,)`.
        probability: Probability that a candidate is chosen. A row with candidates always has a chosen one.
        shares: Shares of the chosen tokens that become the mask token, and any ordinary one. The others stay.
        seed: Random seed.
        draw: Number of the choice: another one for the same text.

    Returns:
        The model's input, and whether a token is chosen, both `(batch, tokens)`.

    Example:
        >>> tokens = torch.arange(10, 20).unsqueeze(0)
        >>> inputs, chosen = mask_tokens(tokens, tokens > 10, mask_token=1, ordinary=torch.arange(10, 20), seed=3)
        >>> inputs
        tensor([[10,  1, 12, 13, 14, 15, 16, 17, 18, 19]])
    """
    places = torch.arange(tokens.shape[1], device=tokens.device)
    start = _mix(torch.as_tensor(seed, device=tokens.device) * _GOLDEN + torch.as_tensor(draw, device=tokens.device))
    # Padding cannot be chosen and adds nothing: a row is the same text with more of it.
    text = (_mix(_mix(tokens + 1) + places * _GOLDEN) * candidates).sum(dim=1, keepdim=True)
    keys = _mix(_mix(text + start) + places * _GOLDEN)
    choice = _mix(keys + _GOLDEN)
    fate = _mix(choice + _GOLDEN)
    substitute = _mix(fate + _GOLDEN)
    rank = torch.where(candidates, _share(choice), 2.0)
    chosen = candidates & ((rank < probability) | (rank == rank.amin(dim=1, keepdim=True)))
    masked, replaced = shares
    other = ordinary[(_share(substitute) * len(ordinary)).long().clamp(max=len(ordinary) - 1)]
    hidden = torch.where(
        _share(fate) < masked, mask_token, torch.where(_share(fate) < masked + replaced, other, tokens)
    )
    return torch.where(chosen, hidden, tokens), chosen


def _mix(keys: Tensor) -> Tensor:
    """Return well-mixed bits of each key: the finalizer of MurmurHash3, in wrapping arithmetic of 64 bits."""
    for factor in (_FIRST, _SECOND):
        keys = (keys ^ _shift(keys, 33)) * factor
    mixed: Tensor = keys ^ _shift(keys, 33)
    return mixed


def _shift(keys: Tensor, bits: int) -> Tensor:
    """Shift to the right and fill with zeros; torch fills with the sign."""
    shifted: Tensor = (keys >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def _share(keys: Tensor) -> Tensor:
    """Return a number from 0 to below 1 for each key."""
    share: Tensor = _shift(keys, 64 - _BITS).float() / 2**_BITS
    return share

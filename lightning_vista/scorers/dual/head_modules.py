"""Named modules on top of the parts of a head, which routing can train on parts of the data, and which can be cut."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vista.routing.surgery import Branches

_WAVES = 4


class LayerModule(nn.Module):
    """A transformer layer over frames or clauses, and a projection that returns zero at first.

    Args:
        width: Size of an item.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.project = nn.Linear(width, width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, items: Tensor, is_padding: Tensor | None = None) -> Tensor:
        """Return what to add to items `(batch, items, width)`, of which `is_padding` `(batch, items)` marks some."""
        result: Tensor = self.project(self.layer(items, src_key_padding_mask=is_padding))
        return result


class TimeModule(nn.Module):
    """A linear map of items that depends on their time, from 0 for the first to 1 for the last one.

    In the space that videos and descriptions share, it lets the content of frames and clauses count with their place:
    `mix(items * gate(time))`. The gates of videos and descriptions are random and different at first, so that the score
    does not depend on order in a useful way before training.

    Args:
        width: Size of an item.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * _WAVES, width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.gate.weight, std=0.5)
        nn.init.eye_(self.mix.weight)

    def forward(self, items: Tensor, is_padding: Tensor | None = None) -> Tensor:
        """Return what to add to items `(batch, items, width)`, of which `is_padding` `(batch, items)` marks some."""
        there = items.new_ones(items.shape[:2]) if is_padding is None else (~is_padding).to(items.dtype)
        times = torch.arange(items.shape[1], device=items.device) / (there.sum(1, keepdim=True) - 1).clamp(min=1)
        waves = times[..., None] * math.pi * torch.arange(1, _WAVES + 1, device=items.device)
        gates = self.gate(torch.cat([waves.sin(), waves.cos()], dim=-1).to(items.dtype))
        result: Tensor = self.mix(items * gates)
        return result


class Stack(Branches):
    """A part of a head with named modules on top: each reads what those before it return, and its output is added."""

    def forward(self, *args: Any, is_padding: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Return the sum of all outputs `(batch, items, width)`.

        Args:
            *args: Arguments of the part.
            is_padding: Items that do not count `(batch, items)`; None for none.
            **kwargs: Further arguments of the part; `src_key_padding_mask` is also that of the modules.
        """
        total: Tensor = self.old(*args, **kwargs)
        padding = kwargs.get("src_key_padding_mask", is_padding)
        for name in self.names:
            total = total + self.get_submodule(name)(total, padding)
        return total


def project_items(part: nn.Module, items: Tensor, is_there: Tensor) -> Tensor:
    """Apply a part of a head to items `(batch, items, width)`, of which `is_there` `(batch, items)` marks some."""
    result: Tensor = part(items, is_padding=~is_there) if isinstance(part, Stack) else part(items)
    return result

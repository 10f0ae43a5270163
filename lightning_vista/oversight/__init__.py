"""Scalable oversight (gradient routing, 4.3): the grid, its policy, roll-outs."""

from lightning_vista.oversight.grid import OversightGridworld
from lightning_vista.oversight.policy import OversightPolicy

__all__ = ["OversightGridworld", "OversightPolicy"]

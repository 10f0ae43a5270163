"""Gradient routing on any LightningModule, and ViSTa: vision-language models as judges of sequential tasks."""

__version__ = "0.1.0"

"""LightningDataModules. Import them as `lightning_vista.datamodules`."""

from lightning_vista.datamodules.vista import ViSTaDataModule

__all__ = ["ViSTaDataModule"]

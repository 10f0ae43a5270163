"""LightningDataModules. Import them as `lightning_vista.datamodules`."""

from lightning_vista.datamodules.gridworld import GridworldDataModule
from lightning_vista.datamodules.home_agent import HomeTaskDataModule
from lightning_vista.datamodules.images import ImagesDataModule
from lightning_vista.datamodules.mini_training import MiniFramesDataModule, MiniTrainingDataModule
from lightning_vista.datamodules.poisoned_images import PoisonedImagesDataModule
from lightning_vista.datamodules.stories import StoriesDataModule
from lightning_vista.datamodules.vista import ViSTaDataModule

__all__ = [
    "GridworldDataModule",
    "HomeTaskDataModule",
    "ImagesDataModule",
    "MiniFramesDataModule",
    "MiniTrainingDataModule",
    "PoisonedImagesDataModule",
    "StoriesDataModule",
    "ViSTaDataModule",
]

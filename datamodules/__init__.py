"""LightningDataModules. Import them as `lightning_vista.datamodules`.

Names are imported when they are first used: each needs other optional packages.
"""

from typing import TYPE_CHECKING

from lightning_vista.optional import lazy_exports

if TYPE_CHECKING:
    from lightning_vista.datamodules.gridworld import GridworldDataModule
    from lightning_vista.datamodules.home_agent import HomeTaskDataModule
    from lightning_vista.datamodules.images import ImagesDataModule
    from lightning_vista.datamodules.mini_training import MiniFramesDataModule, MiniTrainingDataModule
    from lightning_vista.datamodules.poisoned_images import PoisonedImagesDataModule
    from lightning_vista.datamodules.stories import StoriesDataModule
    from lightning_vista.datamodules.vista import ViSTaDataModule

_HOMES = {
    "gridworld": ("GridworldDataModule",),
    "home_agent": ("HomeTaskDataModule",),
    "images": ("ImagesDataModule",),
    "mini_training": ("MiniFramesDataModule", "MiniTrainingDataModule"),
    "poisoned_images": ("PoisonedImagesDataModule",),
    "stories": ("StoriesDataModule",),
    "vista": ("ViSTaDataModule",),
}

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

__getattr__ = lazy_exports(__name__, _HOMES)

from .gridworld import GridworldDataModule as GridworldDataModule
from .home_agent import HomeTaskDataModule as HomeTaskDataModule
from .images import ImagesDataModule as ImagesDataModule
from .mini_training import MiniFramesDataModule as MiniFramesDataModule
from .mini_training import MiniTrainingDataModule as MiniTrainingDataModule
from .poisoned_images import PoisonedImagesDataModule as PoisonedImagesDataModule
from .stories import StoriesDataModule as StoriesDataModule
from .vista import ViSTaDataModule as ViSTaDataModule

"""Pictures of what a model makes, for people to look at."""

from collections.abc import Sequence

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from lightning_vista.optional import require
from lightning_vista.run_files import run_files

#: In pixels: the height that small images are enlarged to, at least, and the white between them.
_HEIGHT, _GAP = 32, 2


def tile_pictures(rows: Sequence[Tensor]) -> Tensor:
    """Put images beside and below each other; small ones are enlarged by a whole number, pixel by pixel.

    Args:
        rows: Images of each row, `(images, channels, height, width)` in [-1, 1], with 1 or 3 channels.

    Returns:
        One picture, uint8 `(height, width, 3)` on the CPU.

    Example:
        >>> tile_pictures([torch.zeros(10, 1, 8, 8), torch.zeros(10, 1, 8, 8)]).shape
        torch.Size([68, 340, 3])
    """
    scale = -(-_HEIGHT // rows[0].shape[2])
    images = torch.stack(list(rows)).float().clamp(-1, 1)
    large = images.repeat_interleave(scale, dim=-2).repeat_interleave(scale, dim=-1)
    apart = torch.nn.functional.pad(large, (0, _GAP, 0, _GAP), value=1.0)
    picture = apart.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return ((picture + 1) * 127.5).round().byte().expand(-1, -1, 3).contiguous().cpu()


def log_picture(trainer: L.Trainer, name: str, picture: Tensor) -> None:
    """Write `<name>.png` into the run's folder, and send it to the loggers that take pictures.

    Args:
        trainer: The trainer of the run.
        name: What the picture is called.
        picture: uint8 `(height, width, 3)`.

    Raises:
        ModuleNotFoundError: If Pillow is missing; the message names the extra.
    """
    if not trainer.is_global_zero:
        return
    path = run_files(trainer) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    require("PIL.Image", "studies").fromarray(picture.numpy()).save(path)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step=trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, trainer.global_step, dataformats="HWC")

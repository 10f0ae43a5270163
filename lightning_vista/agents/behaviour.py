"""Pictures of what an agent does."""

from pathlib import Path

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray

from lightning_vista.models.pictures import log_picture, tile_pictures
from lightning_vista.optional import require

_FRAMES, _COLUMNS = 10, 4
_MILLISECONDS = 200


def log_behaviour(trainer: L.Trainer, films: NDArray[np.uint8]) -> None:
    """Write `behaviour.png`, episodes as rows of frames, and `behaviour_moving.png`, which plays them side by side.

    The second is an animated PNG: browsers play it, and what cannot shows its first frame.

    Args:
        trainer: The trainer of the run.
        films: RGB frames `(frames, episodes, height, width, 3)`, uint8.
    """
    images = torch.from_numpy(films).permute(1, 0, 4, 2, 3) / 127.5 - 1  # (episodes, frames, 3, height, width)
    chosen = np.linspace(0, len(films) - 1, _FRAMES).round().astype(int)
    log_picture(trainer, "behaviour", tile_pictures(list(images[:, chosen])))
    moments = [tile_pictures(moment.split(_COLUMNS)).numpy() for moment in images.transpose(0, 1)]
    first, *others = [require("PIL.Image", "rl").fromarray(moment) for moment in moments]
    path = Path(trainer.log_dir or trainer.default_root_dir, "behaviour_moving.png")
    first.save(path, save_all=True, append_images=others, duration=_MILLISECONDS, loop=0)

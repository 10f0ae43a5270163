"""Videos to embed, and a process that embeds them."""

import torch
from torch import Tensor


def noise_videos(count: int) -> Tensor:
    """The same few numbers each time, `(count, 2, 3, 4, 4)`."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 2, 3, 4, 4), generator=generator, dtype=torch.uint8)


def mean_colours(frames: Tensor) -> Tensor:
    """The mean of each channel, `(videos, 3)`."""
    return frames.float().mean(dim=(1, 3, 4))


def fill_cache(folder: str, order: int = 1) -> None:
    """Embed 40 videos, one by one, from either end."""
    from lightning_vista.scorers.embedding_cache import EmbeddingCache

    torch.set_num_threads(1)
    for video in torch.split(noise_videos(40), 1)[::order]:

        def embed(rows: list[int], video: Tensor = video) -> Tensor:
            return mean_colours(video[rows])

        EmbeddingCache(folder).embed(video, embed)

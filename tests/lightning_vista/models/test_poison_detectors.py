import pytest
import torch

from lightning_vista.models.poison_detectors import extend_labels


def blobs(count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of three classes, each with its own bright pixel."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = 0.3 * torch.randn(count, 1, 2, 2, generator=generator)
    images.flatten(1)[torch.arange(count), labels] += 3
    return images, labels


def some_known(is_poison: torch.Tensor) -> torch.Tensor:
    known = torch.full(is_poison.shape, -1)
    known[is_poison.nonzero().flatten()[:20]] = 1
    known[(~is_poison).nonzero().flatten()[:60]] = 0
    return known


def test_a_visible_mark_is_taught() -> None:
    images, labels = blobs()
    is_poison = torch.arange(300) % 4 == 0
    images.flatten(1)[is_poison, 3] += 3
    known = some_known(is_poison)
    flagged = extend_labels("taught", images, labels, known, seed=0)
    assert torch.equal(flagged, is_poison & (known == -1))


def test_a_wrong_label_is_a_surprise() -> None:
    images, labels = blobs()
    is_poison = torch.arange(300) % 4 == 0
    wrong = torch.where(is_poison, (labels + 1) % 3, labels)
    known = some_known(is_poison)
    flagged = extend_labels("surprise", images, wrong, known, seed=0)
    assert torch.equal(flagged, is_poison & (known == -1))


@pytest.mark.parametrize("detector", ["taught", "surprise"])
def test_too_few_known_images_flag_nothing(detector: str) -> None:
    images, labels = blobs(30)
    known = torch.full((30,), -1)
    known[:10] = 0
    known[20] = 1
    assert not extend_labels(detector, images, labels, known, seed=0).any()  # type: ignore[arg-type]

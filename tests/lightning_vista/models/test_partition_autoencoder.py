from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.models import PartitionAutoencoder
from lightning_vista.models.partition_autoencoder import correlation_penalty

GROUPS = {"low": [0, 1], "high": [2, 3]}


def tiny(**changes: bool) -> PartitionAutoencoder:
    return PartitionAutoencoder((1, 4, 4), GROUPS, hidden_sizes=[8], encoding_size=6, **changes)


def batch(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.rand(12, 1, 4, 4, generator=generator) * 2 - 1, "label": torch.arange(12) % 4}


def test_certificates_leave_the_encoding_alone() -> None:
    model = tiny()
    encoding = model(batch()["image"])
    first, second = model.certify(encoding)
    (first.sum() + second.sum()).backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(parameter.grad is not None for parameter in model.certificates.parameters())


def test_split_decoders_make_an_image_from_the_half_of_its_group() -> None:
    model = tiny(split_decoders=True)
    encoding = model(batch()["image"]).detach().requires_grad_()
    model.reconstruct(encoding, batch()["label"]).square().sum().backward()
    used = encoding.grad.abs().sum(dim=0) if encoding.grad is not None else None
    assert used is not None
    rows = (batch()["label"] >= 2).long()
    assert encoding.grad is not None
    for row, gradient in zip(rows.tolist(), encoding.grad, strict=True):
        assert gradient[3 * row : 3 * row + 3].abs().sum() > 0
        assert gradient[3 - 3 * row : 6 - 3 * row].abs().sum() == 0


def test_a_test_tells_errors_by_class_and_shows_them(tmp_path: Path) -> None:
    model = tiny()
    data: DataLoader[dict[str, Tensor]] = DataLoader([batch(0), batch(1)], batch_size=None)  # type: ignore[arg-type] # a list will do
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.test(model, data, verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    both = {key: torch.cat([batch(0)[key], batch(1)[key]]) for key in ("image", "label")}
    made = model.certify(model(both["image"]))
    errors = [(image - both["image"]).abs().mean(dim=(1, 2, 3)) for image in made]
    low = both["label"] < 2
    assert found["test/high_certificate/class_3"] == pytest.approx(errors[1][both["label"] == 3].mean().item())
    ratio = errors[0][~low].mean() / errors[1][~low].mean()
    assert found["test/ratio/high"] == pytest.approx(ratio.item())
    assert len(found) == 3 * 6 + 2
    with Image.open(tmp_path / "reconstructions.png") as picture:
        assert picture.size == (4 * 34 + 2, 4 * 34 + 2)


def test_groups_and_halves_must_fit() -> None:
    with pytest.raises(ValueError, match="two groups"):
        PartitionAutoencoder((1, 4, 4), {"all": [0]})
    with pytest.raises(ValueError, match="an even number"):
        PartitionAutoencoder((1, 4, 4), GROUPS, encoding_size=7)


def test_correlations_are_those_of_numpy() -> None:
    first, second = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 5, dtype=torch.float64)
    oracle = np.corrcoef(first.numpy(), second.numpy(), rowvar=False)[:3, 3:]
    torch.testing.assert_close(correlation_penalty(first, second), torch.tensor(np.abs(oracle).mean()))


def test_units_that_do_not_vary_have_a_gradient() -> None:
    units = torch.zeros(8, 2, requires_grad=True)
    correlation_penalty(units, torch.randn(8, 2)).backward()
    assert units.grad is not None
    assert units.grad.isfinite().all()

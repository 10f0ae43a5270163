import numpy as np
import torch

from lightning_vista.models.partition_autoencoder import correlation_penalty


def test_correlations_are_those_of_numpy() -> None:
    first, second = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 5, dtype=torch.float64)
    oracle = np.corrcoef(first.numpy(), second.numpy(), rowvar=False)[:3, 3:]
    torch.testing.assert_close(correlation_penalty(first, second), torch.tensor(np.abs(oracle).mean()))


def test_units_that_do_not_vary_have_a_gradient() -> None:
    units = torch.zeros(8, 2, requires_grad=True)
    correlation_penalty(units, torch.randn(8, 2)).backward()
    assert units.grad is not None
    assert units.grad.isfinite().all()

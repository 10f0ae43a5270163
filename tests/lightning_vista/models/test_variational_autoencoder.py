from itertools import permutations
from pathlib import Path

import lightning as L
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from lightning_vista.datamodules import ImagesDataModule
from lightning_vista.models import VariationalAutoencoder
from lightning_vista.models.variational_autoencoder import LatentSampler, latent_divergence, match_latents
from lightning_vista.routing import LabelRule, Route, Router


def tiny(beta: float = 0.1) -> VariationalAutoencoder:
    return VariationalAutoencoder((1, 4, 4), hidden_sizes=[8], num_latents=3, beta=beta)


def batch() -> dict[str, Tensor]:
    return {"image": torch.rand(6, 1, 4, 4) * 2 - 1, "label": torch.arange(6) % 3}


def trainer(folder: Path) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder,
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


def test_the_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    oracle = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), standard)
    torch.testing.assert_close(latent_divergence(mean, log_variance), oracle)


def test_no_other_match_is_right_more_often() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        chosen, labels = torch.randint(4, (2, 30), generator=generator)
        classes = match_latents(chosen, labels, 4)
        assert sorted(classes.tolist()) == [0, 1, 2, 3]
        best = max((torch.tensor(order)[chosen] == labels).sum() for order in permutations(range(4)))
        assert (classes[chosen] == labels).sum() == best


def test_latents_vary_in_training_only() -> None:
    sampler = LatentSampler()
    mean, log_variance = torch.full((20_000, 1), 2.0), torch.full((20_000, 1), 0.25).log()
    latents = sampler(mean, log_variance)
    assert latents.mean().item() == pytest.approx(2.0, abs=0.02)
    assert latents.std().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(sampler.eval()(mean, log_variance), mean)


def encoder_gradient(model: VariationalAutoencoder, data: dict[str, Tensor], seed: int = 0) -> Tensor:
    """The gradient of the loss with respect to means and logarithms of variances."""
    seen: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    handle = model.encoder.register_forward_hook(keep)
    torch.manual_seed(seed)  # the noise
    model.log_dict = lambda *_args, **_options: None  # type: ignore[method-assign] # needs a trainer otherwise
    model.training_step(data, 0).backward()
    handle.remove()
    assert seen[0].grad is not None
    return seen[0].grad


def test_routing_leaves_the_reconstruction_to_the_own_latent_and_the_divergence_to_all() -> None:
    data, model = batch(), tiny(beta=0.7)
    plain = encoder_gradient(model, data)
    own = torch.nn.functional.one_hot(data["label"], 3).bool().repeat(1, 2)
    mean, log_variance = (part.detach().requires_grad_() for part in model(data["image"]))
    (0.7 * latent_divergence(mean, log_variance).sum() / 6).backward()
    assert mean.grad is not None
    assert log_variance.grad is not None
    oracle = torch.where(own, plain, torch.cat([mean.grad, log_variance.grad], dim=1))
    names = {f"digit_{number}": [number] for number in range(3)}
    router = Router([Route("latent", LabelRule("label", names), {**names})])
    router.attach(model)
    router.compute(data)
    routed = encoder_gradient(model, data)
    router.clear()
    router.detach()
    torch.testing.assert_close(routed, oracle)
    assert not torch.allclose(plain, oracle)


def test_a_traversal_moves_one_latent_at_a_time() -> None:
    model = tiny().eval()
    images = model.traverse(torch.tensor([-1.0, 2.0]))
    assert images.shape == (3, 2, 1, 4, 4)
    torch.testing.assert_close(images[1, 1], model.decoder(torch.tensor([[0.0, 2.0, 0.0]]))[0])


def test_readings_are_those_of_all_test_images_at_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = VariationalAutoencoder((1, 8, 8), hidden_sizes=[16])
    data = ImagesDataModule(batch_size=32, train_images=200, test_images=50)
    run = trainer(tmp_path)
    run.test(model, data, verbose=False)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    parts = list(data.test_dataloader())
    assert len(parts) > 1
    image, label = (torch.cat([part[key] for part in parts]) for key in ("image", "label"))
    with torch.no_grad():
        mean, log_variance = model(image)
        made = model.decoder(mean)
    divergence = latent_divergence(mean, log_variance)
    assert found["test/accuracy"] == pytest.approx((divergence.argmax(dim=1) == label).float().mean().item())
    assert found["test/error"] == pytest.approx((made - image).square().mean().item())
    assert found["test/divergence"] == pytest.approx(divergence.sum(dim=1).mean().item())
    assert {"test/matched_accuracy", "test/probe_accuracy", "test/traversal_accuracy"} < set(found)
    with Image.open(tmp_path / "traversals.png") as picture:
        assert picture.size == (13 * 34 + 2, 10 * 34 + 2)


def test_a_decoder_that_draws_each_class_by_its_latent_is_recognised(tmp_path: Path) -> None:
    """Latents and classes are in reversed order, which only the match can know."""
    data = ImagesDataModule(batch_size=200, train_images=400, test_images=50)
    data.setup("test")
    images, labels = next(iter(data.train_dataloader())).values()
    means = torch.stack([images[labels == digit].mean(dim=0) for digit in range(10)])
    model = VariationalAutoencoder((1, 8, 8), hidden_sizes=[])
    model.encoder, model.decoder = torch.nn.Sequential(NearestClass(means)), torch.nn.Sequential(Mixture(means))
    run = trainer(tmp_path)
    run.test(model, data, verbose=False)
    assert run.callback_metrics["test/matched_accuracy"] > 0.8
    assert run.callback_metrics["test/accuracy"] < 0.2
    assert run.callback_metrics["test/traversal_accuracy"] == 1


class NearestClass(torch.nn.Module):
    """An encoder whose latent 9 - d is 3 for images nearest to the mean of digit d."""

    def __init__(self, means: Tensor) -> None:
        super().__init__()
        self.means = means

    def forward(self, image: Tensor) -> Tensor:
        nearest = torch.cdist(image.flatten(1), self.means.flatten(1)).argmin(dim=1)
        mean = 3.0 * torch.nn.functional.one_hot(9 - nearest, 10)
        return torch.cat([mean, torch.zeros_like(mean)], dim=1)


class Mixture(NearestClass):
    """A decoder that draws the mean of digit 9 - l where latent l is 3."""

    def forward(self, latent: Tensor) -> Tensor:
        return torch.einsum("bl,lchw->bchw", latent / 3, self.means.flip(0))


def test_a_test_needs_training_images(tmp_path: Path) -> None:
    data = ImagesDataModule(batch_size=32, train_images=200, test_images=50)
    data.setup("test")
    with pytest.raises(ValueError, match="Pass a datamodule"):
        trainer(tmp_path).test(VariationalAutoencoder((1, 8, 8)), data.test_dataloader(), verbose=False)

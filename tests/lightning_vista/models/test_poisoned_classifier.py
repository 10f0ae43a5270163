import pytest
import torch
from torch.nn.functional import cross_entropy, nll_loss, one_hot

from lightning_vista.models import PoisonedClassifier
from lightning_vista.models.poisoned_classifier import mixture


def batch(count: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(count) % 10
    image = torch.randn(count, 1, 8, 8, generator=generator)
    return {"image": image, "label": label, "lure": (label + 1) % 10, "known": torch.full((count,), -1)}


def test_the_gradient_of_a_mixture_is_shared_by_responsibility() -> None:
    core, branch = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    label = torch.tensor([0, 1, 2, 0, 1])
    nll_loss(mixture(core, branch, 0.3), label, reduction="sum").backward()
    of_core = 0.7 * core.softmax(dim=1)[torch.arange(5), label]
    of_branch = 0.3 * branch.softmax(dim=1)[torch.arange(5), label]
    for logits, part in ((core, of_core), (branch, of_branch)):
        expected = (part / (of_core + of_branch)).unsqueeze(1) * (logits.softmax(dim=1) - one_hot(label, 3))
        torch.testing.assert_close(logits.grad, expected.detach())


def test_the_loss_of_each_combination() -> None:
    rows = batch()
    for combination in ("mixture", "sum"):
        model = PoisonedClassifier(branch_width=4, combination=combination, branch_share=0.25)
        features = model.body(rows["image"])
        assert model.branch is not None
        core, branch = model.core(features), model.branch(features)
        probabilities = 0.75 * core.softmax(dim=1) + 0.25 * branch.softmax(dim=1)
        oracle = nll_loss(probabilities.log(), rows["label"])
        if combination == "sum":
            oracle = cross_entropy(core + branch, rows["label"])
        torch.testing.assert_close(model.loss(rows), oracle)
    plain = PoisonedClassifier()
    torch.testing.assert_close(plain.loss(rows), cross_entropy(plain(rows["image"]), rows["label"]))


def test_the_branch_does_not_train_the_body() -> None:
    model, rows = PoisonedClassifier(branch_width=4, branch_share=0.999999), batch()
    model.core.requires_grad_(False)
    torch.nn.init.zeros_(model.core.get_parameter("out.weight"))  # so that the core passes nothing to the body
    model.loss(rows).backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.body.parameters())
    assert model.branch is not None
    assert all(parameter.grad is not None for parameter in model.branch.parameters())


def test_a_network_of_timm() -> None:
    options = {"channels": [4, 4, 4, 8], "layers": [1, 1, 1, 1]}
    model = PoisonedClassifier("resnet18", width=5, branch_width=3, small_images=True, network_options=options)
    assert model(batch()["image"]).shape == (6, 10)
    assert model.core[0].weight.shape == (5, 8)


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="`combination`"):
        PoisonedClassifier(combination="product")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`branch_share`"):
        PoisonedClassifier(branch_share=1)

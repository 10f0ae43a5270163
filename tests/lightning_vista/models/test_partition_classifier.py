import pytest
import timm
import torch
from sklearn.linear_model import Ridge
from torch import nn

from lightning_vista.models import PartitionClassifier
from lightning_vista.models.partition_classifier import LinearProbe, keep_small_images, mean_ablated, pool_units

TINY = {"channels": [4, 4, 4, 8], "layers": [1, 1, 1, 1]}


def test_small_images_keep_their_size_until_the_first_stage() -> None:
    model = PartitionClassifier("resnet18", "layer4", {"a": [0], "b": [1]}, 1, small_images=True, network_options=TINY)
    sizes: list[torch.Size] = []
    model.network.get_submodule("layer1").register_forward_hook(lambda _m, _i, output: sizes.append(output.shape))
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 2)
    assert sizes[0][2:] == (8, 8)


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="every class from 0 on"):
        PartitionClassifier("resnet18", "layer4", {"a": [0], "b": [2]})
    with pytest.raises(AttributeError, match="layer9"):
        PartitionClassifier("resnet18", "layer9", {"a": [0], "b": [1]}, network_options=TINY)
    transformer: nn.Module = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    with pytest.raises(ValueError, match="expected a ResNet"):
        keep_small_images(transformer)


def test_ablated_units_are_their_means_and_the_hook_goes() -> None:
    layer = nn.Conv2d(3, 4, 3)
    image = torch.randn(2, 3, 5, 5)
    plain = layer(image)
    means = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with mean_ablated(layer, torch.tensor([True, False, False, True]), means):
        ablated = layer(image)
    expected = plain.clone()
    expected[:, 0], expected[:, 3] = 1.0, 4.0
    assert torch.equal(ablated, expected)
    assert torch.equal(layer(image), plain)


def test_units_at_the_last_dimension() -> None:
    tokens = torch.randn(2, 7, 4)
    torch.testing.assert_close(pool_units(tokens, dim=-1), tokens.mean(dim=1))
    layer = nn.Identity()
    with mean_ablated(layer, torch.tensor([False, False, True, False]), torch.ones(4), dim=-1):
        assert (layer(tokens)[..., 2] == 1).all()


def test_the_probe_is_a_ridge_regression() -> None:
    features, labels = torch.randn(60, 4, dtype=torch.float64) * 3 + 1, torch.randint(3, (60,))
    inputs = ((features - features.mean(0)) / features.std(0)).numpy()
    oracle = Ridge(alpha=0.1 * 60).fit(inputs, nn.functional.one_hot(labels, 3).numpy())
    probe = LinearProbe(features, labels, 3, penalty=0.1)
    assert probe.predict(features).tolist() == oracle.predict(inputs).argmax(axis=1).tolist()

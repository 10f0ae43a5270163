import pytest
import timm
import torch
from torch import nn

from lightning_vista.models import PartitionClassifier
from lightning_vista.models.partition_classifier import keep_small_images

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

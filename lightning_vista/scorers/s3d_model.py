"""S3D with gates and a text tower, as trained on HowTo100M (arXiv:1712.04851, section 4; arXiv:1912.06430).

Modules and parameters have the names of the published checkpoint, from whose shapes all widths follow.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d, pad, relu

#: Kernel and stride of a pool (time, height, width) -> the Inception blocks that follow it.
STAGES = {
    ((1, 3, 3), (1, 2, 2)): ("3b", "3c"),
    ((3, 3, 3), (2, 2, 2)): ("4b", "4c", "4d", "4e", "4f"),
    ((2, 2, 2), (2, 2, 2)): ("5b", "5c"),
}
#: Number of words that the text tower reads.
TEXT_LENGTH = 16

Shapes = Mapping[str, tuple[int, ...]]


class Convolution(nn.Module):
    """A convolution with batch norm and ReLU, or a spatial one followed by a temporal one, where the shapes have both.

    Args:
        shapes: Shapes of the parameters by their names within this module.
    """

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.steps = [number for number in (1, 2) if f"conv{number}.weight" in shapes]
        for number in self.steps:
            width, channels, time, height, across = shapes[f"conv{number}.weight"]
            kernel, padding = (time, height, across), (time // 2, height // 2, across // 2)
            self.add_module(f"conv{number}", nn.Conv3d(channels, width, kernel, padding=padding, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm3d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `(batch, channels, frames, height, width)`."""
        for number in self.steps:
            x = relu(self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x)))
        return x


class Gate(nn.Module):
    """A gate for each channel that depends on the mean of all channels over time and space."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        width = shapes["fc.bias"][0]
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh `(batch, channels, frames, height, width)`."""
        gates: Tensor = self.fc(x.mean(dim=(2, 3, 4))).sigmoid()
        return x * gates[:, :, None, None, None]


class Inception(nn.Module):
    """Four branches of convolutions side by side, each with its gate."""

    #: Convolutions of each branch; a pool precedes the last one.
    branches = (("conv_b0",), ("conv_b1_a", "conv_b1_b"), ("conv_b2_a", "conv_b2_b"), ("conv_b3_b",))

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        for number, names in enumerate(self.branches):
            for name in names:
                self.add_module(name, Convolution(_within(shapes, name)))
            self.add_module(f"gating_b{number}", Gate(_within(shapes, f"gating_b{number}")))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `(batch, channels, frames, height, width)`; the width of the result is that of all branches."""
        outputs = []
        for number, names in enumerate(self.branches):
            branch = max_pool3d(x, 3, stride=1, padding=1) if number == len(self.branches) - 1 else x
            for name in names:
                branch = self.get_submodule(name)(branch)
            outputs.append(self.get_submodule(f"gating_b{number}")(branch))
        return torch.cat(outputs, dim=1)


class WordTower(nn.Module):
    """The text tower: the largest of all words' features, so that the order of words does not count."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        rows, width = shapes["word_embd.weight"]
        self.word_embd = nn.Embedding(rows, width)
        self.fc1, self.fc2 = _linear(shapes["fc1.weight"]), _linear(shapes["fc2.weight"])

    def forward(self, words: Tensor) -> Tensor:
        """Embed texts.

        Args:
            words: Numbers of words `(texts, words)`, integer; 0 fills up short texts, and is read as a word.

        Returns:
            Embeddings `(texts, dim)`.
        """
        embeddings: Tensor = self.fc2(relu(self.fc1(self.word_embd(words))).amax(dim=1))
        return embeddings


class S3D(nn.Module):
    """Both towers.

    Args:
        shapes: Shapes of all parameters by name.
    """

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        for name in ("conv1", "conv_2b", "conv_2c"):
            self.add_module(name, Convolution(_within(shapes, name)))
        self.gating = Gate(_within(shapes, "gating"))
        for stage in STAGES.values():
            for layer in stage:
                self.add_module(f"mixed_{layer}", Inception(_within(shapes, f"mixed_{layer}")))
        self.fc = _linear(shapes["fc.weight"])
        self.text_module = WordTower(_within(shapes, "text_module"))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "S3D":
        """Build the model that a state dict belongs to, with its tensors as weights.

        Args:
            state: Tensors by their published names.

        Returns:
            The model, in evaluation mode.

        Raises:
            ValueError: If a tensor is missing or superfluous, or its shape does not fit the others.
        """
        try:
            # On the meta device nothing is allocated or initialised: the state dict's own tensors become the weights.
            with torch.device("meta"):
                model = cls({name: tuple(tensor.shape) for name, tensor in state.items()})
            model.load_state_dict(state, assign=True)
        except KeyError as error:
            raise ValueError(f"expected the tensors of an S3D, but {error} is missing") from error
        except (RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"expected the tensors of an S3D: {error}") from error
        return model.eval()

    def embed_video(self, pixels: Tensor) -> Tensor:
        """Embed videos.

        Args:
            pixels: RGB frames `(batch, 3, frames, height, width)`, 0 to 1; the number of frames is a multiple of 8,
                height and width are multiples of 32.

        Returns:
            Embeddings `(batch, dim)`.
        """
        # TensorFlow pads even kernels with the smaller half on the left: without the first of each dimension.
        x = self.get_submodule("conv1")(into_depth(pixels))[:, :, 1:, 1:, 1:]
        x = _pool(x, (1, 3, 3), (1, 2, 2))
        x = self.gating(self.get_submodule("conv_2c")(self.get_submodule("conv_2b")(x)))
        for (kernel, stride), stage in STAGES.items():
            x = _pool(x, kernel, stride)
            for layer in stage:
                x = self.get_submodule(f"mixed_{layer}")(x)
        embeddings: Tensor = self.fc(x.mean(dim=(2, 3, 4)))
        return embeddings


def into_depth(pixels: Tensor) -> Tensor:
    """Move each block of 2x2x2 pixels of a video into channels, which gives the first convolution a stride of 2.

    Args:
        pixels: Video `(batch, channels, frames, height, width)`; the last three are even.

    Returns:
        The same numbers, `(batch, 8 * channels, frames / 2, height / 2, width / 2)`; channels count fastest.

    Example:
        >>> into_depth(torch.zeros(1, 3, 4, 6, 8)).shape
        torch.Size([1, 24, 2, 3, 4])
    """
    blocks = pixels.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    moved: Tensor = blocks.permute(0, 3, 5, 7, 1, 2, 4, 6).flatten(1, 4)
    return moved


def _pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Take maxima with TensorFlow's padding, whose larger half is on the right; zeros, which follow ReLUs."""
    sides = []
    for size, step in zip(reversed(kernel), reversed(stride), strict=True):  # `pad` begins at the last dimension
        total = max(size - step, 0)
        sides += [total // 2, total - total // 2]
    return max_pool3d(pad(x, sides), kernel, stride)


def _linear(shape: tuple[int, ...]) -> nn.Linear:
    """Return the layer that a weight of this shape belongs to."""
    outputs, inputs = shape
    return nn.Linear(inputs, outputs)


def _within(shapes: Shapes, module: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a module's parameters, by their names within it."""
    start = f"{module}."
    return {name.removeprefix(start): shape for name, shape in shapes.items() if name.startswith(start)}

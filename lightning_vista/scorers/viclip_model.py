"""ViCLIP: a CLIP whose vision tower attends to all patches of all frames together (arXiv:2307.06942, section 4.1).

Modules and parameters have the names of the published checkpoints. Attention and layers are those of CLIP.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

#: Width of an attention head, in both towers of all published sizes.
HEAD_DIM = 64


@dataclass(frozen=True)
class ViCLIPSizes:
    """The sizes of a ViCLIP.

    Attributes:
        vision_width: Width of the vision tower.
        vision_layers: Number of blocks of the vision tower.
        patch_size: Height and width of a patch in pixels.
        num_patches: Number of patches of a frame.
        num_frames: Number of frames of a video.
        text_width: Width of the text tower.
        text_layers: Number of blocks of the text tower.
        vocabulary: Number of token ids.
        text_length: Number of tokens of a text.
        dim: Width of an embedding.
    """

    vision_width: int
    vision_layers: int
    patch_size: int
    num_patches: int
    num_frames: int
    text_width: int
    text_layers: int
    vocabulary: int
    text_length: int
    dim: int

    @property
    def image_size(self) -> int:
        """Height and width of a frame in pixels."""
        return int(self.num_patches**0.5) * self.patch_size

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "ViCLIPSizes":
        """Return the sizes of the model that a state dict belongs to.

        Args:
            state: Tensors by name, as in a published checkpoint.

        Raises:
            KeyError: If a tensor that determines a size is missing.
        """
        vision, text = "vision_encoder.", "text_encoder."
        return cls(
            vision_width=state[f"{vision}proj"].shape[0],
            vision_layers=_count_blocks(state, vision),
            patch_size=state[f"{vision}conv1.weight"].shape[-1],
            num_patches=state[f"{vision}positional_embedding"].shape[0] - 1,
            num_frames=state[f"{vision}temporal_positional_embedding"].shape[1],
            text_width=state[f"{text}text_projection"].shape[0],
            text_layers=_count_blocks(state, text),
            vocabulary=state[f"{text}token_embedding.weight"].shape[0],
            text_length=state[f"{text}positional_embedding"].shape[0],
            dim=state[f"{vision}proj"].shape[1],
        )


class Attention(nn.Module):
    """Self-attention with the parameters of `nn.MultiheadAttention`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """Attend `(batch, tokens, width)`."""
        projected = linear(x, self.in_proj_weight, self.in_proj_bias)
        heads = projected.reshape(*x.shape[:2], 3, -1, HEAD_DIM)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, HEAD_DIM)
        attended = scaled_dot_product_attention(query, key, value, is_causal=causal)
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output


class QuickGELU(nn.Module):
    """`x * sigmoid(1.702 x)`, CLIP's fast approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each number."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Attention and a multilayer perceptron, each behind a layer norm and added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = Attention(width)
        self.ln_1 = nn.LayerNorm(width)
        layers = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU()), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """Transform `(batch, tokens, width)`."""
        x = x + self.attn(self.ln_1(x), causal)
        output: Tensor = x + self.mlp(self.ln_2(x))
        return output


class Transformer(nn.Module):
    """A sequence of blocks."""

    def __init__(self, width: int, layers: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.resblocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `(batch, tokens, width)`."""
        for block in self.resblocks:
            x = block(x, self.causal)
        return x


class VisionEncoder(nn.Module):
    """The vision tower: one transformer over a class token and the patches of all frames."""

    def __init__(self, sizes: ViCLIPSizes) -> None:
        super().__init__()
        width, patch = sizes.vision_width, (1, sizes.patch_size, sizes.patch_size)
        self.conv1 = nn.Conv3d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(sizes.num_patches + 1, width))
        self.temporal_positional_embedding = nn.Parameter(torch.empty(1, sizes.num_frames, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, sizes.vision_layers, causal=False)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, sizes.dim))

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed videos.

        Args:
            pixels: Normalised frames `(batch, frames, 3, height, width)`, float; 1 frame or `num_frames` frames.

        Returns:
            Embeddings `(batch, dim)`.
        """
        patches = self.conv1(pixels.transpose(1, 2)).flatten(3).permute(0, 3, 2, 1)  # (batch, patches, frames, width)
        moments: Tensor = self.temporal_positional_embedding
        if patches.shape[2] == 1:
            moments = moments.mean(dim=1, keepdim=True)  # as in the authors' code for images
        patches = patches + self.positional_embedding[1:, None] + moments
        token = (self.class_embedding + self.positional_embedding[0]).expand(len(patches), 1, -1)
        x = self.ln_pre(torch.cat([token, patches.flatten(1, 2)], dim=1))
        embeddings: Tensor = self.ln_post(self.transformer(x)[:, 0]) @ self.proj
        return embeddings


class TextEncoder(nn.Module):
    """The text tower: a causal transformer, read at the end-of-text token."""

    def __init__(self, sizes: ViCLIPSizes) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(sizes.vocabulary, sizes.text_width)
        self.positional_embedding = nn.Parameter(torch.empty(sizes.text_length, sizes.text_width))
        self.transformer = Transformer(sizes.text_width, sizes.text_layers, causal=True)
        self.ln_final = nn.LayerNorm(sizes.text_width)
        self.text_projection = nn.Parameter(torch.empty(sizes.text_width, sizes.dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed texts.

        Args:
            tokens: Token ids `(texts, text_length)`, integer; the end-of-text token has the highest id.

        Returns:
            Embeddings `(texts, dim)`.
        """
        x = self.transformer(self.token_embedding(tokens) + self.positional_embedding)
        ends = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
        embeddings: Tensor = self.ln_final(ends) @ self.text_projection
        return embeddings


class ViCLIP(nn.Module):
    """Both towers, and the temperature of their training, which scoring does not need."""

    def __init__(self, sizes: ViCLIPSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.vision_encoder = VisionEncoder(sizes)
        self.text_encoder = TextEncoder(sizes)
        self.temp = nn.Parameter(torch.empty(()))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "ViCLIP":
        """Build the model that a state dict belongs to, with its tensors as weights.

        Args:
            state: Tensors named `vision_encoder.*`, `text_encoder.*` and `temp`.

        Returns:
            The model, in evaluation mode.

        Raises:
            ValueError: If a tensor is missing or superfluous, or its shape does not fit the others.
        """
        try:
            sizes = ViCLIPSizes.of(state)
        except KeyError as error:
            raise ValueError(f"expected the tensors of a ViCLIP, but {error} is missing") from error
        # On the meta device nothing is allocated or initialised: the state dict's own tensors become the weights.
        with torch.device("meta"):
            model = cls(sizes)
        try:
            model.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        return model.eval()


def _count_blocks(state: Mapping[str, Tensor], tower: str) -> int:
    """Return the number of blocks of a tower."""
    start = f"{tower}transformer.resblocks."
    return len({name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)})

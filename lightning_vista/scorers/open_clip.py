"""open_clip's models as scorers, including the CLIP of the ViSTa paper (section 4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.scorers.frame_embedding import FrameEmbeddingScorer
from lightning_vista.scorers.preprocessing import (
    PreprocessingMode,
    authors_preprocessing,
    open_clip_preprocessing,
)
from lightning_vista.scorers.pretrained import DType
from lightning_vista.scorers.quick_gelu import checked_weights
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling

#: open_clip's names of the types.
_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class OpenCLIPScorer(FrameEmbeddingScorer):
    """A scorer by the mean cosine, over frames, of a description with each frame in an open_clip model's space.

    The paper's model is `ViT-bigG-14` with `laion2b_s39b_b160k`. Some of open_clip's models have a vision tower of timm
    (SigLIP, ConvNeXt, EVA, MobileCLIP, ...).

    Args:
        model: Name of a model in `open_clip.list_models()`, or `hf-hub:<owner>/<name>` or `local-dir:<folder>` for a
            hub repository or a folder in open_clip's format.
        pretrained: Weights of a named model: a tag in `open_clip.list_pretrained()`, which is downloaded, or a file.
            None for a repository or folder, which has its own weights.
        dtype: Type of the weights. Embeddings are float32 in any case.
        num_frames: Number of frames of each video, 2 to 32; the published figures use 2, 4, 8, 16 and 32.
        sampling: Rule that chooses the frames, see `sample_indices`.
        preprocessing: `authors` squeezes whole frames to a square with bicubic interpolation. `processor` follows the
            model's own transform, which usually crops to a square.
        frame_batch_size: Number of frames that pass through the vision tower at once; fewer need less memory.
        name: Name in tables and figures; by default the model's name with the number of frames.
        cache_dir: Folder for embeddings of videos, see `EmbeddingScorer`.
        quick_gelu: Whether the weights in a file were trained with QuickGELU. None finds out from open_clip's list, the
            file or its folder; that fails for a file of your own whose model has a twin with the other activation.

    Raises:
        ValueError: If the model or the weights do not exist, or do not fit together in shapes or activation; if the hub
            cannot be reached; or if another argument is outside the ranges above.

    Example:
        >>> scorer = OpenCLIPScorer("ViT-bigG-14", "laion2b_s39b_b160k", num_frames=4)  # doctest: +SKIP
        >>> scorer.name, scorer.frame_spec.height_width  # doctest: +SKIP
        ('ViT-bigG-14-4f', (224, 224))
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        dtype: DType = "float32",
        num_frames: int = 8,
        sampling: Sampling = "uniform",
        preprocessing: PreprocessingMode = "authors",
        frame_batch_size: int = 64,
        name: str | None = None,
        cache_dir: str | None = None,
        quick_gelu: bool | None = None,
    ) -> None:
        check_word("dtype", dtype, get_args(DType))
        label = name or f"{Path(model).name}-{num_frames}f"
        super().__init__(num_frames, preprocessing, frame_batch_size, label, cache_dir)
        open_clip = require("open_clip", extra="vlm")
        self.model = _load_model(open_clip, model, pretrained, quick_gelu, _PRECISIONS[dtype])
        self.tokenizer = open_clip.get_tokenizer(model)
        frames, settings = FrameSpec(num_frames, sampling), self.model.visual.preprocess_cfg
        if preprocessing == "authors":
            self.preprocessing = authors_preprocessing(frames, settings["size"], settings["mean"], settings["std"])
        else:
            self.preprocessing = open_clip_preprocessing(frames, settings)
        self.frame_spec = self.preprocessing.frame_spec

    def setup(self, stage: str) -> None:
        """Refuse to cast weights that open_clip has cast, see `EmbeddingScorer`."""
        super().setup(stage)
        precision = str(self.trainer.precision)
        if self.hparams["dtype"] != "float32" and precision.endswith("-true") and precision != "32-true":
            # In half precision open_clip keeps its norms in float32, with classes that expect just that.
            raise ValueError(
                f"`trainer.precision`: expected '32-true' or a mixed one for {self.name}, whose weights have "
                f"the `dtype` {self.hparams['dtype']!r}, got {precision!r}. Or give dtype='float32'."
            )

    def embed_frames(self, pixels: Tensor) -> Tensor:
        """Embed normalised frames `(frames, dim)`."""
        # Not that of the argument, since the trainer's precision may cast the weights. In half precision open_clip
        # keeps some weights in float32, so the type of the input is the smallest one.
        dtype = min((weight.dtype for weight in self.model.parameters()), key=lambda dtype: dtype.itemsize)
        embeddings: Tensor = self.model.encode_image(pixels.to(dtype))
        return embeddings

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit-length embeddings `(texts, dim)`, float32; long texts are truncated and counted."""
        # open_clip has several kinds of tokenizers. All of them cut and pad to a requested length, and nothing else is
        # common to them; so the uncut length is read off a tokenization with ample room.
        limit = self.tokenizer.context_length
        uncut = self.tokenizer(texts, context_length=16 * limit)
        self.count_truncated(texts, _lengths(uncut), limit)
        return normalize(self.model.encode_text(self.tokenizer(texts).to(self.device)).float(), dim=-1)


def _load_model(open_clip: Any, model: str, pretrained: str | None, quick_gelu: bool | None, precision: str) -> Any:
    """Load the model, frozen and in evaluation mode."""
    if pretrained and model.startswith(("hf-hub:", "local-dir:")):
        raise ValueError(f"`pretrained`: expected None, since {model!r} has its own weights, got {pretrained!r}.")
    try:
        with checked_weights(open_clip, model, pretrained, quick_gelu) as weights:
            loaded = open_clip.create_model(model, weights, precision=precision, require_pretrained=True)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"Cannot load {model!r} with the weights {pretrained!r}: {error}\nExpected a model and a tag of open_clip, "
            "where the hub can be reached, a model and a file with its weights, or `local-dir:<folder>`."
        ) from error
    return loaded.eval().requires_grad_(False)


def _lengths(tokens: Tensor) -> list[int]:
    """Return the number of tokens of each row `(texts, tokens)` before its padding, whose id is the row's last one."""
    used = tokens != tokens[:, -1:]
    positions = torch.arange(1, tokens.shape[1] + 1)
    return [int(length) for length in (used * positions).amax(dim=1)]

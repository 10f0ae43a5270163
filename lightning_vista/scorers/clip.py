"""CLIP, SigLIP and SigLIP 2 as scorers (ViSTa, section 4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from torch import Tensor
from torch.nn.functional import normalize

from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.scorers.frame_embedding import FrameEmbeddingScorer
from lightning_vista.scorers.preprocessing import (
    STATISTICS,
    PreprocessingMode,
    authors_preprocessing,
    processor_preprocessing,
)
from lightning_vista.scorers.pretrained import AutoDType, load_frozen_model, load_pretrained
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling

_EXPECTED = (
    "Expected the id of a checkpoint on the Hugging Face hub, where that can be reached, or a local folder with a "
    "checkpoint in transformers' format."
)


class CLIPScorer(FrameEmbeddingScorer):
    """A scorer by the mean cosine, over frames, of a description with each frame in CLIP's embedding space.

    The `model_type` of fixed-resolution SigLIP 2 is `siglip`. For open_clip's models see `OpenCLIPScorer`.

    Args:
        model: Hub id or local folder of a CLIP or SigLIP checkpoint in transformers' format.
        dtype: Type of the weights; `auto` keeps the checkpoint's. Embeddings are float32 in any case.
        num_frames: Number of frames of each video, 2 to 32; the published figures use 2, 4, 8, 16 and 32.
        sampling: Rule that chooses the frames, see `sample_indices`.
        preprocessing: `authors` squeezes whole frames to a square with bicubic interpolation. `processor` follows the
            checkpoint's image processor; CLIP's usually crops to a square.
        frame_batch_size: Number of frames that pass through the vision tower at once; fewer need less memory.
        name: Name in tables and figures; by default the checkpoint's name with the number of frames.
        cache_dir: Folder for embeddings of videos, see `EmbeddingScorer`.
        learning_rate: Highest AdamW learning rate of `fit`, see `PairTraining`; None leaves the weights frozen.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or the hub cannot be reached.
        ValueError: If the checkpoint is another kind of model or lacks weights, if its image processor cannot be
            followed exactly, or if another argument is outside the ranges above.

    Example:
        >>> scorer = CLIPScorer("openai/clip-vit-base-patch32", num_frames=4)  # doctest: +SKIP
        >>> scorer.name, scorer.frame_spec.height_width  # doctest: +SKIP
        ('clip-vit-base-patch32-4f', (224, 224))
    """

    def __init__(
        self,
        model: str,
        dtype: AutoDType = "float32",
        num_frames: int = 8,
        sampling: Sampling = "uniform",
        preprocessing: PreprocessingMode = "authors",
        frame_batch_size: int = 64,
        name: str | None = None,
        cache_dir: str | None = None,
        learning_rate: float | None = None,
    ) -> None:
        check_word("dtype", dtype, get_args(AutoDType))
        label = name or f"{Path(model).absolute().name}-{num_frames}f"
        super().__init__(num_frames, preprocessing, frame_batch_size, label, cache_dir)
        transformers = require("transformers", extra="vlm")
        config = _load_config(transformers, model)
        frames, image_size = FrameSpec(num_frames, sampling), config.vision_config.image_size
        if preprocessing == "authors":
            self.preprocessing = authors_preprocessing(frames, image_size, *STATISTICS[config.model_type])
        else:
            processor = load_pretrained(transformers.AutoImageProcessor.from_pretrained, model, _EXPECTED)
            self.preprocessing = processor_preprocessing(frames, processor, image_size)
        self.frame_spec = self.preprocessing.frame_spec
        self.tokenizer = load_pretrained(transformers.AutoTokenizer.from_pretrained, model, _EXPECTED)
        self.model = load_frozen_model(transformers.AutoModel.from_pretrained, model, _EXPECTED, dtype)
        self.hparams.pop("learning_rate", None)  # it changes no scores but by the weights, which count themselves
        if learning_rate is not None:
            self.learning_rate = learning_rate
            self.model.requires_grad_(True).train()

    def scale(self) -> Tensor:
        """Return the checkpoint's factor of cosines, a scalar."""
        scale: Tensor = self.model.logit_scale.exp()
        return scale

    def embed_frames(self, pixels: Tensor) -> Tensor:
        """Embed normalised frames `(frames, dim)`."""
        features: Tensor = self.model.get_image_features(pixel_values=pixels.to(self.model.dtype)).pooler_output
        return features

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit-length embeddings `(texts, dim)`, float32; long texts are truncated and counted."""
        # No attention mask: SigLIP was trained with padding in view, and CLIP's causal mask hides padding anyway.
        features = self.model.get_text_features(input_ids=self._tokenize(texts).to(self.model.device))
        return normalize(features.pooler_output.float(), dim=-1)

    def _tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return token ids `(texts, tokens)`, truncated and padded to the model's length."""
        # SigLIP was trained on lower-case text; the tokenizers of some of its checkpoints leave that to the caller.
        cased = self.model.config.model_type == "clip"
        written = [text if cased else text.lower() for text in texts]
        lengths = [len(tokens) for tokens in self.tokenizer(written, verbose=False)["input_ids"]]
        limit = int(self.model.config.text_config.max_position_embeddings)  # 77 in CLIP, 64 in SigLIP
        self.count_truncated(texts, lengths, limit)
        encoded = self.tokenizer(
            written,
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        )
        ids: Tensor = encoded["input_ids"]
        return ids


def _load_config(transformers: Any, model: str) -> Any:  # a lazily imported module, a config of it
    """Return the configuration of a fixed-resolution CLIP or SigLIP."""
    settings, _ = load_pretrained(transformers.PreTrainedConfig.get_config_dict, model, _EXPECTED)
    if not settings:
        raise FileNotFoundError(f"{model!r} has no config.json. {_EXPECTED}")
    model_type = settings.get("model_type")
    if model_type == "siglip2":
        raise ValueError(
            f"`model`: expected a fixed resolution, got {model!r}, the NaFlex variant of SigLIP 2 (model_type "
            "'siglip2'). Use a model of model_type 'siglip', such as google/siglip2-base-patch16-224."
        )
    if model_type not in ("clip", "siglip"):
        raise ValueError(
            "`model`: expected model_type 'clip' (CLIP) or 'siglip' (SigLIP, and SigLIP 2 of a fixed resolution), with "
            f"both the vision and the text tower, got {model!r} of model_type {model_type!r}."
        )
    return load_pretrained(transformers.AutoConfig.from_pretrained, model, _EXPECTED)

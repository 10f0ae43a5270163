"""Image-text models in transformers' format: loading, and the form in which their processors take a video's frames."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image
from torch import Tensor

from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.scorers.pretrained import AutoDType, load_frozen_model, load_pretrained
from lightning_vista.video import FrameClock

_EXPECTED = (
    "Expected the id of a checkpoint on the Hugging Face hub, where that can be reached, or a local folder with an "
    "image-text model and its processor in transformers' format."
)

#: Form of the frames for a local model; `auto` is a video where the processor takes one and the times are known.
FramesAs = Literal["auto", "video", "images"]


class ImageTextModel(NamedTuple):
    """A loaded model with its processor.

    Attributes:
        processor: Processor of transformers, which does not sample frames and pads on the left.
        model: Model of transformers, frozen.
        frames_as: Form of the frames, `images` where the processor takes nothing else.
    """

    processor: Any
    model: Any
    frames_as: FramesAs


def load_image_text(model: str, dtype: AutoDType, frames_as: FramesAs, split_frames: bool) -> ImageTextModel:
    """Load an image-text model that chats.

    Args:
        model: Hub id or local folder of a checkpoint that `AutoModelForImageTextToText` reads.
        dtype: Type of the weights; `auto` keeps the checkpoint's.
        frames_as: Form of the frames.
        split_frames: Whether processors that cut pictures into tiles may cut frames.

    Returns:
        The model with its processor.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or the hub cannot be reached.
        ValueError: If a word is unknown, the checkpoint is not an image-text model or lacks weights, or its processor
            does not take the videos that `frames_as` asks for.
    """
    check_word("dtype", dtype, get_args(AutoDType))
    check_word("frames_as", frames_as, get_args(FramesAs))
    transformers = require("transformers", extra="vlm")
    _check_type(transformers, model)
    processor = load_pretrained(transformers.AutoProcessor.from_pretrained, model, _EXPECTED)
    for switch in ("do_image_splitting", "crop_to_patches"):
        if hasattr(processor.image_processor, switch):
            setattr(processor.image_processor, switch, split_frames)
    processor.tokenizer.padding_side = "left"  # replies begin where requests end
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    known = takes_video(processor)
    if frames_as == "video" and not known:
        raise ValueError(
            f"`frames_as`: expected 'auto' or 'images' for {model!r}, whose {type(processor).__name__} or chat "
            "template does not take videos, got 'video'."
        )
    loaded = load_frozen_model(transformers.AutoModelForImageTextToText.from_pretrained, model, _EXPECTED, dtype)
    return ImageTextModel(processor, loaded, frames_as if known else "images")


def _check_type(transformers: Any, model: str) -> None:
    """Check that a checkpoint is an image-text model, and that the packages of its processor are installed."""
    config, _ = load_pretrained(transformers.PreTrainedConfig.get_config_dict, model, _EXPECTED)
    kind = config.get("model_type")
    known = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if kind not in known:
        raise ValueError(
            f"`model`: expected an image-text model that chats, such as Qwen/Qwen3-VL-2B-Instruct, got {model!r} of "
            f"model_type {kind!r}." + (" Use CLIPScorer for it." if kind in ("clip", "siglip") else "")
        )
    if kind == "smolvlm":
        require("num2words", extra="vlm")


def takes_video(processor: Any) -> bool:
    """Return whether a processor prepares videos, and its chat template has a place for them.

    Args:
        processor: Processor of transformers.
    """
    token = getattr(processor, "video_token", None)
    if getattr(processor, "video_processor", None) is None or token is None:
        return False
    jinja2 = require("jinja2", extra="vlm")
    asked = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "?"}]}]
    try:
        return token in processor.apply_chat_template(asked, tokenize=False)
    except jinja2.TemplateError:  # templates raise it for parts that they do not know
        return False


def frame_parts(
    frames: Sequence[Tensor] | Tensor, clock: FrameClock | None, frames_as: FramesAs
) -> list[dict[str, Any]]:
    """Return frames in the form that chat templates read: one video with its metadata, or images.

    Args:
        frames: RGB frames `(3, height, width)`, uint8, on the CPU.
        clock: Times of the frames. Without them, `auto` means images: a guessed time would mislead the model.
        frames_as: Form of the frames; `images` unless the processor takes videos.

    Raises:
        ValueError: If a video is wanted of frames without times.

    Example:
        >>> frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> [part["type"] for part in frame_parts(frames, FrameClock(8.0, (0, 4)), "auto")]
        ['video']
        >>> [part["type"] for part in frame_parts(frames, None, "auto")]
        ['image', 'image']
    """
    if frames_as == "video" and clock is None and len(frames):
        raise ValueError(
            "`times`: expected the times of the frames for a video, got none. Give them, or set `frames_as` to 'auto'."
        )
    if frames_as != "images" and clock is not None and len(frames):
        video = frames if isinstance(frames, Tensor) else torch.stack([*frames])
        return [{"type": "video", "video": video, "metadata": clock.metadata()}]
    return [{"type": "image", "image": Image.fromarray(frame.permute(1, 2, 0).numpy())} for frame in frames]


def process(processor: Any, conversations: Sequence[Sequence[dict[str, Any]]], **template: Any) -> Any:
    """Return a model's inputs for conversations that await a reply, padded on the left.

    Args:
        processor: Processor of transformers.
        conversations: Messages of each conversation, see `frame_parts`.
        **template: Variables of the chat template.

    Returns:
        `BatchFeature` of tensors on the CPU.
    """
    parts = [part for messages in conversations for message in messages for part in message["content"]]
    settings: dict[str, Any] = {"padding": True}
    if metadata := [part["metadata"] for part in parts if part["type"] == "video"]:
        settings |= {"do_sample_frames": False, "video_metadata": metadata}
    return processor.apply_chat_template(
        [list(messages) for messages in conversations],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=settings,
        **template,
    )


@dataclass(frozen=True)
class FrameCost:
    """The pictures and tokens that a processor makes of frames.

    Attributes:
        frames: Number of frames.
        pictures: Number of pictures: tiles, or steps of a video, in which models may merge two frames.
        tokens: Number of tokens.
        as_video: Whether the frames were handed over as a video.

    Example:
        >>> FrameCost(5, 25, 100, False).summary()
        '5 frames as images: 25 pictures (5 per frame), 100 tokens (20 per frame)'
    """

    frames: int
    pictures: int
    tokens: int
    as_video: bool

    @classmethod
    def of(cls, config: Any, inputs: Any, frames: int, as_video: bool) -> "FrameCost":
        """Count what a processor made of frames.

        Args:
            config: Configuration of the model.
            inputs: What the processor returned.
            frames: Number of frames that it was given, all of them equal in size.
            as_video: Whether they were handed over as a video.
        """
        pictures = 0
        for kind in ("image", "video"):
            pixels = inputs.get("pixel_values" if kind == "image" else "pixel_values_videos")
            grid = inputs.get(f"{kind}_grid_thw")
            if grid is not None:
                pictures += int(grid[:, 0].sum())
            elif pixels is not None:
                pictures += pixels.shape[:-3].numel() if pixels.ndim > 3 else len(pixels)
        return cls(frames, pictures, int(_is_media(config, inputs["input_ids"]).sum()), as_video)

    def summary(self) -> str:
        """Return the numbers in one line."""
        form = "one video" if self.as_video else "images"
        per = [f"{number / self.frames:.3g} per frame" for number in (self.pictures, self.tokens)]
        return f"{self.frames} frames as {form}: {self.pictures} pictures ({per[0]}), {self.tokens} tokens ({per[1]})"

    def show(self, name: str, split_frames: bool) -> None:
        """Show the numbers, with a warning if there are more pictures than frames and nobody asked for that."""
        rank_zero_info(f"{name}: {self.summary()}")
        times = self.pictures / self.frames
        if times > 1 and not split_frames:
            warnings.warn(
                f"{name}: the processor makes {times:g} pictures of each frame, so a request costs about {times:g} "
                "times as much as `num_frames` says. Set split_frames=True to accept that.",
                stacklevel=2,
            )


def _is_media(config: Any, tokens: Tensor) -> Tensor:
    """Return where tokens stand for pictures, `(...)`, bool."""
    names = [f"{kind}_token_{end}" for kind in ("image", "video") for end in ("id", "index")]
    ids = [id for name in names if (id := getattr(config, name, None)) is not None]
    return torch.isin(tokens, torch.tensor(ids, device=tokens.device, dtype=torch.long))

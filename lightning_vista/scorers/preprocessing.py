"""Preprocessing of a video's frames for the vision tower of a CLIP."""

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Interpolation

PreprocessingMode = Literal["authors", "processor"]

#: Mean and standard deviation of each channel, 0 to 1, that models were trained with.
STATISTICS = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
#: Pillow's numbers of interpolations, which image processors use.
_INTERPOLATIONS: dict[int, Any] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
#: Processors that only resize, crop, rescale and normalise, in this order.
_PLAIN_PROCESSORS = ("CLIPImageProcessor", "SiglipImageProcessor")


class Preprocessing(NamedTuple):
    """The part of preprocessing that the datamodule's workers do, and the part that is left to the scorer.

    Attributes:
        frame_spec: Geometry of the frames, for the workers.
        mean: Mean of each channel's pixel values (0 to 255) `(3, 1, 1)`, to subtract.
        std: Standard deviation of each channel's pixel values `(3, 1, 1)`, to divide by.
    """

    frame_spec: FrameSpec
    mean: Tensor
    std: Tensor

    def normalize(self, frames: Tensor) -> Tensor:
        """Normalise frames for the vision tower.

        Args:
            frames: RGB frames `(..., 3, height, width)`, uint8.

        Returns:
            Pixels of the same shape, float32, on the same device.
        """
        return (frames.float() - self.mean.to(frames.device)) / self.std.to(frames.device)

    def describe(self) -> str:
        """Return the frames with the mean and standard deviation, as text."""
        return f"{self.frame_spec} {self.mean.flatten().tolist()} {self.std.flatten().tolist()}"


def authors_preprocessing(frames: FrameSpec, image_size: int | tuple[int, int], mean: Any, std: Any) -> Preprocessing:
    """Return the ViSTa authors' preprocessing (section 4): the whole frame, squeezed with bicubic interpolation.

    Args:
        frames: Number and sampling of the frames.
        image_size: Height and width of the vision tower's input in pixels; one number for a square.
        mean: Mean of the model's training images, 0 to 1: one number per channel, or one for all channels.
        std: Standard deviation of these images, in the same form.

    Returns:
        The preprocessing.

    Example:
        >>> preprocessing = authors_preprocessing(FrameSpec(num_frames=4), 256, *STATISTICS["siglip"])
        >>> preprocessing.normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten()
        tensor([1., 1., 1.])
    """
    spec = replace(frames, size=image_size, interpolation="bicubic", crop=False)
    return Preprocessing(spec, _per_channel(mean) * 255, _per_channel(std) * 255)


def processor_preprocessing(frames: FrameSpec, processor: Any, image_size: int) -> Preprocessing:
    """Return the preprocessing of an image processor of transformers.

    Args:
        frames: Number and sampling of the frames.
        processor: Image processor of a checkpoint.
        image_size: Height and width of the vision tower's input in pixels.

    Returns:
        The preprocessing.

    Raises:
        ValueError: If the processor does something that a `FrameSpec` cannot express; the message lists everything.
    """
    settings = processor.to_dict()
    faults = []
    kind = type(processor).__name__
    if kind.removesuffix("Pil") not in _PLAIN_PROCESSORS:
        faults.append(f"expected one of {', '.join(_PLAIN_PROCESSORS)}, got a {kind}")
    resample = int(settings.get("resample", -1))
    if resample not in _INTERPOLATIONS:
        faults.append(f"`resample`: expected one of {_INTERPOLATIONS}, got {resample}")
    if not settings.get("do_resize") or settings.get("do_pad"):
        faults.append("it does not resize, or it pads")
    crop = _crop(settings, image_size)
    if crop is None:
        shown = {key: settings.get(key) for key in ("size", "do_center_crop", "crop_size")}
        faults.append(f"expected a squeeze or crop to the model's {image_size}x{image_size} pixels, got {shown}")
    if crop is None or faults:
        raise ValueError(
            f"The checkpoint's image processor cannot be followed exactly: {'; '.join(faults)}. "
            "Use preprocessing='authors'."
        )
    spec = replace(frames, size=image_size, interpolation=_INTERPOLATIONS[resample], crop=crop)
    return Preprocessing(spec, *_statistics(settings))


def open_clip_preprocessing(frames: FrameSpec, settings: dict[str, Any]) -> Preprocessing:
    """Return the preprocessing of open_clip's transform for inference.

    Args:
        frames: Number and sampling of the frames.
        settings: The model's `preprocess_cfg`.

    Returns:
        The preprocessing.

    Raises:
        ValueError: If the transform pads, which a `FrameSpec` cannot express, or its interpolation is unknown.
    """
    crops = {"shortest": True, "squash": False}
    # `random` concerns training; open_clip.transform.image_transform evaluates such models with bicubic interpolation.
    interpolations: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
    for name, known in (("resize_mode", crops), ("interpolation", interpolations)):
        if settings[name] not in known:
            raise ValueError(
                f"The model's `{name}`: expected one of {', '.join(known)}, got {settings[name]!r}. "
                "Use preprocessing='authors'."
            )
    interpolation = interpolations[settings["interpolation"]]
    plain = authors_preprocessing(frames, settings["size"], settings["mean"], settings["std"])
    spec = replace(plain.frame_spec, interpolation=interpolation, crop=crops[settings["resize_mode"]])
    return plain._replace(frame_spec=spec)


def _crop(settings: dict[str, Any], image_size: int) -> bool | None:
    """Tell whether frames are cropped (True) or squeezed (False) to the model's size; None if neither."""
    square = {"height": image_size, "width": image_size}
    size = {edge: pixels for edge, pixels in settings["size"].items() if pixels is not None}
    crops = settings.get("do_center_crop")
    if crops and settings["crop_size"] != square:
        return None
    if size == square:
        return False
    return True if crops and size == {"shortest_edge": image_size} else None


def _statistics(settings: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation in pixel values, 0 to 255."""
    scale = 1 / settings["rescale_factor"] if settings["do_rescale"] else 1.0
    if not settings["do_normalize"]:
        return _per_channel([0.0] * 3), _per_channel([scale] * 3)
    return _per_channel(settings["image_mean"]) * scale, _per_channel(settings["image_std"]) * scale


def _per_channel(values: Any) -> Tensor:  # a number for all channels, or one for each
    return torch.tensor(values, dtype=torch.float32).expand(3).reshape(3, 1, 1)

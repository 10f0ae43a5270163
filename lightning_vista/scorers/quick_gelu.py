"""The check that weights of open_clip meet the activation that they were trained with: GELU or OpenAI's QuickGELU.

Both activations load the same weights, so the wrong one only shows in the scores, which are off by thousandths.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_vista.files.documents import parse_json

_SUFFIX = "-quickgelu"
#: Numbers that only OpenAI's state dicts hold beside the weights.
_OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")


@contextmanager
def checked_weights(
    open_clip: Any, model: str, pretrained: str | None, quick_gelu: bool | None
) -> Iterator[str | None]:
    """Check that a model has the activation of its weights, and yield the weights as open_clip can load them.

    Args:
        open_clip: The package.
        model: Name of a model of open_clip, or of a repository or folder, which has its own settings.
        pretrained: Tag or file of the weights.
        quick_gelu: Whether the weights of a file were trained with QuickGELU; None to find out.

    Yields:
        The tag or file; for a file with OpenAI's additional numbers, a temporary file without these.

    Raises:
        ValueError: If the model has another activation than the weights, or if theirs cannot be known.
    """
    config = open_clip.get_model_config(model)
    if config is None or pretrained is None:
        yield pretrained
        return
    has = bool(config.get("quick_gelu"))
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    state = {} if tag or not Path(pretrained).is_file() else _read(Path(pretrained))
    is_openai = any(key in state for key in _OPENAI_KEYS)
    twin = _twin(open_clip, model)
    if is_openai:
        known: bool | None = True
    elif tag:
        known = bool(tag.get("quick_gelu"))
    else:
        known = _of_file(open_clip, Path(pretrained)) if quick_gelu is None else quick_gelu
    if known is None and twin is not None and Path(pretrained).is_file():
        names = f"{model!r} and {twin!r}" if twin.endswith(_SUFFIX) else f"{twin!r} and {model!r}"
        raise ValueError(
            f"`quick_gelu`: expected true or false, got None. {names} load the same weights and compute GELU and "
            f"QuickGELU, and nothing says which one the weights in {pretrained} were trained with. Give that model, "
            "and `quick_gelu` to confirm it."
        )
    if known is not None and known != has and (twin is not None or is_openai):
        raise ValueError(
            f"`model`: expected {twin or 'a model with quick_gelu'!r}, since the weights {pretrained!r} were trained "
            f"with {_name(known)}, got {model!r}, which computes {_name(has)}."
        )
    if not is_openai:
        yield pretrained
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.pt")
        torch.save({key: value for key, value in state.items() if key not in _OPENAI_KEYS}, path)
        yield str(path)


def _name(quick_gelu: bool) -> str:
    return "QuickGELU" if quick_gelu else "GELU"


def _twin(open_clip: Any, model: str) -> str | None:
    """Return the model that differs in the activation only."""
    twin = model.removesuffix(_SUFFIX) if model.endswith(_SUFFIX) else model + _SUFFIX
    return twin if open_clip.get_model_config(twin) is not None else None


def _of_file(open_clip: Any, path: Path) -> bool | None:
    """Find out from a file's neighbour, metadata, name or place whether its weights need QuickGELU; None if unknown."""
    beside = path.with_name("open_clip_config.json")
    if beside.is_file():
        try:
            settings = parse_json(beside.read_bytes())
            return bool(settings.get("model_cfg", settings).get("quick_gelu"))
        except (AttributeError, ValueError) as error:
            raise ValueError(f"{beside}: expected the settings of a model of open_clip, got {error}.") from error
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            noted = (file.metadata() or {}).get("quick_gelu")
        if noted is not None:
            return str(noted).lower() == "true"
    found = {
        bool(settings.get("quick_gelu"))
        for settings in (open_clip.get_pretrained_cfg(*pair) for pair in open_clip.list_pretrained())
        if _is_published(path, settings)
    }
    return found.pop() if len(found) == 1 else None


def _is_published(path: Path, settings: dict[str, Any]) -> bool:
    """Tell whether a file has the name of a published one, or lies in the hub's cache of its repository."""
    url, hub = settings.get("url") or "", (settings.get("hf_hub") or "").strip("/")
    folder = "models--" + "--".join(hub.split("/")[:2])
    return Path(urlparse(url).path).name == path.name or bool(hub and folder in path.absolute().parts)


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict; empty if it cannot be read, which open_clip will report."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 # not a mapping
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, pickle.UnpicklingError):
        return {}
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {key.removeprefix("module."): value for key, value in state.items()}

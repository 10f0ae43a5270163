"""Weights with the settings that rebuild their module, in one safetensors file."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

#: The weights that ship with the package.
SHIPPED = Path(__file__).parents[1] / "weights"


def save_weights(module: nn.Module, settings: dict[str, Any], path: str | Path) -> None:
    """Write a module's weights in half precision, with what rebuilds it.

    Args:
        module: The module.
        settings: Values that JSON can hold.
        path: The file to write; its folder is made.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in module.state_dict().items()
    }
    save_file(state, path, metadata={"settings": json.dumps(settings)})


def load_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read weights that `save_weights` wrote.

    Args:
        path: The file.

    Returns:
        The settings, and the weights in single precision.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no settings.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There are no weights at {path}: give a file that training wrote.")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
    if "settings" not in metadata:
        raise ValueError(f"{path} holds weights without settings: give a file that training wrote.")
    floats = {name: value.float() if value.dtype == torch.float16 else value for name, value in state.items()}
    return json.loads(metadata["settings"]), floats

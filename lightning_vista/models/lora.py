"""Several LoRA adapters of peft side by side on one model of transformers, all of them active."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_vista.optional import require

#: Settings with which something else than adapters would be trained or changed, so that cutting one off is not exact.
_FIXED = {"modules_to_save": (None,), "bias": ("none",), "init_lora_weights": (True, "gaussian")}


def add_adapters(model: Any, names: Sequence[str], config: Mapping[str, Any]) -> None:
    """Add LoRA adapters to a model, in place. Everything else of the model is frozen, and all adapters are active.

    The parameters of an adapter are called `<layer>.lora_A.<name>.weight` and `<layer>.lora_B.<name>.weight`. The
    latter are zero, so that the model computes the same as before.

    Args:
        model: A model of transformers.
        names: The names of the new adapters; none changes nothing.
        config: Arguments of `peft.LoraConfig`, such as `{"r": 8, "target_modules": ["q_proj", "v_proj"]}`.

    Raises:
        ValueError: If `config` is not one of peft, or trains or changes more than adapters.
        ModuleNotFoundError: If peft is missing; the message names the extra.
    """
    peft = require("peft", extra="adapters")
    faults = [
        f"`{key}`: expected one of {list(allowed)}, got {config[key]!r}: an adapter must be all that is trained."
        for key, allowed in _FIXED.items()
        if key in config and config[key] not in allowed
    ]
    if faults:
        raise ValueError(" ".join(faults))
    for name in names:
        try:
            lora = peft.LoraConfig(**config)
        except TypeError as error:
            raise ValueError(f"`config`: expected arguments of peft.LoraConfig, got an error: {error}") from error
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are the purpose
            model.add_adapter(lora, name)
    if names:
        model.set_adapter(adapter_names(model))


def adapter_names(model: Any) -> list[str]:
    """Return the names of a model's adapters, in the order in which they were added."""
    return list(getattr(model, "peft_config", {}))


def cut_adapters(model: Any, names: Sequence[str]) -> None:
    """Cut adapters off a model, in place; without any adapter it is the plain model again.

    Args:
        model: A model of transformers.
        names: The names of adapters.

    Raises:
        ValueError: If the model has no such adapter.
    """
    if unknown := set(names) - set(adapter_names(model)):
        raise ValueError(f"`adapters`: expected adapters of the model, {adapter_names(model)}, got {sorted(unknown)}.")
    if set(names) == set(adapter_names(model)):
        _unwrap(model)
    elif names:
        model.delete_adapter(list(names))


def merge_adapters(model: Any) -> None:
    """Add a model's adapters to its weights, in place, so that it is a plain model without adapters.

    Args:
        model: A model of transformers.
    """
    for _, layer in _layers(model):
        layer.merge()
    _unwrap(model)


def _unwrap(model: Any) -> None:
    """Put the layers themselves in the place of layers with adapters; all parameters can be trained again."""
    for name, layer in list(_layers(model)):
        model.set_submodule(name, layer.get_base_layer())
    # What transformers notes in `add_adapter`, and asks for when it saves a model.
    if adapter_names(model):
        del model.peft_config
        model._hf_peft_config_loaded = False
    model.requires_grad_(True)


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers with adapters, by name."""
    tuners = require("peft.tuners.tuners_utils", extra="adapters")
    yield from ((name, layer) for name, layer in model.named_modules() if isinstance(layer, tuners.BaseTunerLayer))

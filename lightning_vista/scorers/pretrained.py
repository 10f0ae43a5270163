"""Loaders of checkpoints in transformers' format, with errors that say what was expected."""

from collections.abc import Callable
from typing import Any, Literal

#: Types of a model's weights; `auto` is the type that the checkpoint was saved with.
DType = Literal["float32", "bfloat16", "float16"]
AutoDType = Literal["float32", "bfloat16", "float16", "auto"]


def load_pretrained(loader: Callable[..., Any], model: str, expected: str, **options: Any) -> Any:
    """Load a configuration, processor or model.

    Args:
        loader: A `from_pretrained` method of transformers.
        model: Hub id or local folder of the checkpoint.
        expected: Sentence about the expected `model`, for the error.
        **options: Further arguments of the loader.

    Returns:
        The loaded object.

    Raises:
        FileNotFoundError: If the checkpoint cannot be found or read.
    """
    try:
        return loader(model, **options)
    except OSError as error:
        raise FileNotFoundError(f"Cannot load {model!r}: {error}\n{expected}") from error


def load_frozen_model(loader: Callable[..., Any], model: str, expected: str, dtype: AutoDType) -> Any:
    """Load a model, frozen and in evaluation mode.

    Args:
        loader: The `from_pretrained` method of a model class of transformers.
        model: Hub id or local folder of the checkpoint.
        expected: Sentence about the expected `model`, for the error.
        dtype: Type of the weights.

    Returns:
        The model.

    Raises:
        FileNotFoundError: If the checkpoint cannot be found or read.
        ValueError: If the checkpoint lacks weights, which transformers would draw at random.
    """
    loaded, report = load_pretrained(loader, model, expected, dtype=dtype, output_loading_info=True)
    if report["missing_keys"]:
        raise ValueError(
            f"{model!r} lacks the weights {sorted(report['missing_keys'])}, which would be random. "
            "Give a complete checkpoint of this kind of model."
        )
    return loaded.eval().requires_grad_(False)

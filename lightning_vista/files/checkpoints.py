"""Checkpoints in transformers' format, whose own code is never run."""

from collections.abc import Callable
from typing import Any


def load_without_code(loader: Callable[..., Any], checkpoint: str, **options: Any) -> Any:
    """Load a configuration, tokenizer, processor or model without running code that comes with it.

    Transformers would ask on the terminal whether to run it.

    Args:
        loader: A `from_pretrained` method of transformers.
        checkpoint: Hub id or local folder.
        **options: Further arguments of the loader.

    Returns:
        The loaded object.

    Raises:
        ValueError: If the checkpoint cannot be loaded without its own code.
        OSError: If it cannot be found or read.
    """
    try:
        return loader(checkpoint, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{checkpoint}: expected a checkpoint of a model that transformers knows, got one that needs code of its "
            "own, which is never run. Convert it to a class of transformers, or write a class of your own for it."
        ) from None

"""Loaders of checkpoints in transformers' format, with errors that say what was expected, and hashes of their parts."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from lightning_vista.files.checkpoints import load_without_code

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
        ValueError: If the checkpoint needs its own code, which is never run.
    """
    try:
        return load_without_code(loader, model, **options)
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


def hash_part(part: Any) -> str:
    """Return the hash of everything that a tokenizer or processor does.

    Args:
        part: Tokenizer or processor of transformers, which is hashed as the files that it saves; a tokenizer of
            open_clip; or None.

    Returns:
        SHA-256 as 64 hex digits.
    """
    digest = hashlib.sha256(f"{type(part).__module__}.{type(part).__qualname__}".encode())
    if hasattr(part, "save_pretrained"):
        with TemporaryDirectory() as folder:
            part.save_pretrained(folder)
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    digest.update(f"\n{name}\n".encode() + _content(path))
    elif part is not None:
        described = {key: _described(value) for key, value in vars(part).items() if key != "cache"}  # grows with use
        digest.update(json.dumps(described, sort_keys=True).encode())
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    """Return a saved file, without the padding and truncation that the last call happened to ask for."""
    content = path.read_bytes()
    if path.name != "tokenizer.json":
        return content
    settings = json.loads(content)
    return json.dumps({key: value for key, value in settings.items() if key not in ("padding", "truncation")}).encode()


def _described(value: Any) -> Any:
    """Return JSON that tells apart what open_clip's tokenizers consist of: vocabularies, patterns, functions."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "save_pretrained"):
        return hash_part(value)
    if isinstance(value, dict):
        return [[_described(key), _described(each)] for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [_described(each) for each in value]
    return getattr(value, "pattern", None) or getattr(value, "__qualname__", None) or type(value).__qualname__

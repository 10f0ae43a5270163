"""Hidden states of texts in the frozen part of a model, computed once and kept on the disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from lightning.fabric.utilities import rank_zero_info
from torch import Tensor

from lightning_vista.files.own_files import read_cached, write_cached
from lightning_vista.models.language_model import load_model
from lightning_vista.models.upper_layers import keep_lower_layers, lower_states
from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.text import Row

_VERSION = "1"
StatePrecision = Literal["32", "bf16"]


class HiddenStates:
    """States after the lower layers of a model, which are frozen and thus the same in every step.

    With `num_layers` of 30 layers trained, a step on these states costs little more than `num_layers` / 30 of one on
    tokens. `UpperLanguageModelModule` trains on such batches.

    Files of states are found by a digest of model, layers and tokens. Damaged ones are made again, with a warning.

    Args:
        checkpoint: Folder of a causal language model of transformers with the structure of Llama.
        num_layers: Number of the last layers, which are trained; the states are those before them.
        cache: Folder of the files of states; by default `hidden_states` beside the checkpoint.
        precision: "32" for single precision, or "bf16" for the arithmetic of `bf16-mixed`, which halves the time on
            processors that support it. The states are float32 in any case.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If `precision` is another word; when states are computed, if the model cannot be divided.
    """

    def __init__(
        self, checkpoint: str, num_layers: int = 6, cache: str | None = None, precision: StatePrecision = "32"
    ) -> None:
        check_word("precision", precision, get_args(StatePrecision))
        if not (Path(checkpoint) / "config.json").is_file():
            raise FileNotFoundError(
                f"`{checkpoint}`: expected the folder of a model of transformers, got none. "
                "`lightning-vista pretrained DIR` writes one to DIR/model."
            )
        self.checkpoint, self.num_layers, self.precision = Path(checkpoint), num_layers, precision
        self.cache = Path(cache) if cache else self.checkpoint.parent / "hidden_states"

    def add(self, rows: Sequence[Row]) -> list[Row]:
        """Add the states of their tokens to rows.

        Args:
            rows: The rows, in any order.

        Returns:
            The rows with `states` `(length, width)`, float32.
        """
        texts = [row.tokens for row in rows]
        path = self.cache / f"{self._digest(texts)}.safetensors"
        # A file of an earlier release lacks the checksum of the whole, and is made again as well.
        content = read_cached(path)
        if content is None:
            content = self._write(texts, path)
        flat = require("safetensors.torch", extra="text").load(content)["states"]
        return [
            row._replace(states=states)
            for row, states in zip(rows, flat.split([len(text) for text in texts]), strict=True)
        ]

    def _write(self, texts: Sequence[Tensor], path: Path) -> bytes:
        rank_zero_info(f"Computing the hidden states of {len(texts)} texts, once, for {path}")
        builder = require("transformers", extra="text").AutoModelForCausalLM
        model = load_model(str(self.checkpoint), builder).eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            flat = torch.cat(lower_states(keep_lower_layers(model, self.num_layers), list(texts))).float()
        content: bytes = require("safetensors.torch", extra="text").save({"states": flat}, {"version": _VERSION})
        write_cached(path, content)
        return content

    def _digest(self, texts: Sequence[Tensor]) -> str:
        """Return a digest of all that the states depend on: the files of the model by name, size and time."""
        files = sorted(
            path for pattern in ("*.json", "*.safetensors", "*.bin") for path in self.checkpoint.glob(pattern)
        )
        known = [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files]
        lengths = [len(text) for text in texts]
        digest = hashlib.sha256(repr((_VERSION, known, self.num_layers, self.precision, lengths)).encode())
        digest.update(torch.cat(list(texts)).int().numpy().tobytes())
        return digest.hexdigest()[:32]

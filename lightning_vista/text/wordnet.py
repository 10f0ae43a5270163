"""Glosses of WordNet: tens of thousands of short texts of the real world, each with its topic."""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from lightning_vista.files.own_files import write_whole
from lightning_vista.text.corpus import Record

#: Nouns of WordNet where Debian's package `wordnet-base` puts them.
WORDNET_NOUNS = Path("/usr/share/wordnet/data.noun")
#: Names of the lexicographers' files of nouns, by number (the manual page lexnames(5) of WordNet).
_TOPICS = {
    3: "Tops", 4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition", 10: "communication",
    11: "event", 12: "feeling", 13: "food", 14: "group", 15: "location", 16: "motive", 17: "object", 18: "person",
    19: "phenomenon", 20: "plant", 21: "possession", 22: "process", 23: "quantity", 24: "relation", 25: "shape",
    26: "state", 27: "substance", 28: "time",
}  # fmt: skip
#: Shares of the validation and the test split.
_SHARES = {"validation": 0.1, "test": 0.1}


def read_glosses(path: Path = WORDNET_NOUNS) -> Iterator[Record]:
    """Read the glosses of a data file of WordNet's nouns.

    Args:
        path: The file `data.noun`, see the manual page wndb(5) of WordNet.

    Yields:
        The `text` of each meaning, "words: gloss; examples", and its `topic`, such as `animal`.

    Raises:
        FileNotFoundError: If the file does not exist; the message names the package.
        ValueError: If a line is not one of such a file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"`{path}`: expected the nouns of WordNet, got no file. Install Debian's package wordnet-base, or name the "
            "file data.noun of another copy of WordNet 3."
        )
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.startswith("  "):  # the licence, at the top
                yield _parse_line(line, f"`{path}`, line {number}")


def _parse_line(line: str, place: str) -> Record:
    """Return the record of a line: offset, topic, part of speech, number of words, each word with an id, and more."""
    data, separator, gloss = line.partition(" | ")
    fields = data.split(" ")
    try:
        topic, count = _TOPICS[int(fields[1])], int(fields[3], base=16)
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"{place}: expected a noun of WordNet, got {line[:60]!r}. Check the file.") from error
    words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
    if not separator or len(words) < count:
        raise ValueError(f"{place}: expected words and a gloss, got {line[:60]!r}. Check the file.")
    return {"text": f"{', '.join(words)}: {gloss.strip()}", "topic": topic}


def write_splits(records: Iterable[Record], folder: Path, seed: int = 0) -> None:
    """Write records as `train.jsonl`, `validation.jsonl` and `test.jsonl`, in proportions of 8, 1 and 1.

    Args:
        records: The records.
        folder: Folder of the files, which is made.
        seed: Random seed of the draws; each record falls to a split with a fixed probability.
    """
    rng = random.Random(seed)
    names, weights = ["train", *_SHARES], [1 - sum(_SHARES.values()), *_SHARES.values()]
    lines: dict[str, list[str]] = {name: [] for name in names}
    for record in records:
        lines[rng.choices(names, weights)[0]].append(json.dumps(record))
    for name, texts in lines.items():
        write_whole(folder / f"{name}.jsonl", "".join(f"{text}\n" for text in texts))

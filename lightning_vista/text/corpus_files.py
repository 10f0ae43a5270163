"""Files of a corpus: which of them are texts, and which split their names stand for."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

#: Words of names that stand for each split.
SPLIT_WORDS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "eval", "evaluation"},
}
#: First words of files and folders that come with a corpus, and are not part of it.
_ABOUT = {"license", "licenses", "licence", "licences", "copying", "notice", "readme", "citation", "changelog"}
_ABOUT_CARD = ["dataset", "card"]
#: Kinds of files with texts.
ENDINGS = (".jsonl", ".parquet", ".txt")
#: Number of file names in a line of the log.
_NAMED = 5


def named_splits(name: str) -> list[str]:
    """Return the splits that the words of a name stand for.

    Everything but letters separates words, so `test` is a word of `my_test2.txt` and of `test/0.txt`, not of
    `latest.txt` or `testament.txt`.

    Args:
        name: Name of a file or split, or path below the folder of the corpus.

    Example:
        >>> named_splits("data/validation/part-0.txt"), named_splits("latest.txt"), named_splits("train_and_test.txt")
        (['validation'], [], ['train', 'test'])
    """
    words = set(_words(name))
    return [split for split, its_words in SPLIT_WORDS.items() if words & its_words]


def group_by_split(names: Iterable[str], owner: str) -> dict[str, list[str]]:
    """Group names by the split that they stand for; those without a split are training data.

    Args:
        names: Names of files or splits.
        owner: Name of the corpus, for the error.

    Returns:
        The names of each split that has any, in their order.

    Raises:
        ValueError: If names stand for two splits; lists all of them.
    """
    splits = {name: named_splits(name) or ["train"] for name in names}
    if unclear := [f"{name} ({' and '.join(found)})" for name, found in splits.items() if len(found) > 1]:
        raise ValueError(
            f"`{owner}`: expected names that stand for one split each, got {len(unclear)} that stand for two: "
            f"{', '.join(unclear)}. Rename them, or move them out."
        )
    return {split: found for split in SPLIT_WORDS if (found := [name for name in splits if split in splits[name]])}


def find_corpus_files(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Find the texts of a folder, by split.

    Args:
        folder: Folder of the corpus.

    Returns:
        Files of each split, sorted; and the names of all other files below the folder, which are hidden, are about the
        corpus (licence, readme, citation, dataset card), or have another ending.

    Raises:
        ValueError: If names stand for two splits.
    """
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    texts = [name for name in names if name.lower().endswith(ENDINGS) and not _is_beside(name)]
    by_split = group_by_split(texts, str(folder))
    files = {split: [folder / name for name in found] for split, found in by_split.items()}
    return files, sorted(set(names) - set(texts))


def describe_corpus(folder: Path, files: Mapping[str, Sequence[Path]], left_out: Sequence[str]) -> str:
    """Return a line that names the files of each split, and those that are left out."""
    parts = [f"{split} {_listed([path.relative_to(folder).as_posix() for path in files[split]])}" for split in files]
    return f"{folder}: {'; '.join(parts)}" + (f"; left out {_listed(left_out)}" if left_out else "")


def _is_beside(name: str) -> bool:
    """Return whether a file, or a folder on the way, is hidden or about the corpus."""
    parts = name.split("/")
    return any(part.startswith(".") or _is_about(_words(part)) for part in parts)


def _is_about(words: list[str]) -> bool:
    return words[:1] == ["datasetcard"] or words[:2] == _ABOUT_CARD or not _ABOUT.isdisjoint(words[:1])


def _words(name: str) -> list[str]:
    """Return the words of a name, in lower case."""
    return [word for word in re.split(r"[\W\d_]+", name.lower()) if word]


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''})"

"""Names for files that must not replace those of an earlier run."""

from itertools import count
from pathlib import Path


def free_path(path: Path) -> Path:
    """The path, or the first of `<stem>-2`, `<stem>-3`, ... that does not exist.

    Args:
        path: The file that one would like to write.

    Returns:
        A path in the same folder where there is nothing yet.
    """
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return path if not path.exists() else next(candidate for candidate in numbered if not candidate.exists())

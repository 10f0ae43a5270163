"""The texts that chat judges send, from the files in `prompts/`."""

import hashlib
import re
from functools import cache
from pathlib import Path
from string import Template

PROMPTS = Path(__file__).with_name("prompts")


def fill(prompt: str, **values: object) -> str:
    """The text of a prompt.

    Args:
        prompt: The stem of its file.
        **values: What its `$names` stand for; a name that is empty leaves no gap.

    Example:
        >>> fill("again", problem="it is empty")[:45]
        'This reply cannot be used: it is empty. Answe'
    """
    return re.sub(r"\n{3,}", "\n\n", _template(prompt).substitute(values)).strip()


def prompts_hash() -> str:
    """The hash of all prompts: other words may give other scores."""
    digest = hashlib.sha256()
    for path in sorted(PROMPTS.glob("*.txt")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def _template(prompt: str) -> Template:
    return Template((PROMPTS / f"{prompt}.txt").read_text(encoding="utf-8"))

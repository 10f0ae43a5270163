"""Notebooks made from pages of the docs: text becomes Markdown, scripts and commands become cells to run."""

import re
from collections.abc import Iterator

import nbformat
from nbformat import v4

#: Blocks of a page that become code. Blocks of other languages, such as `text` and `yaml`, stay text.
_BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
#: A link to another page or file of the docs. It becomes plain text: a downloaded notebook is not beside them, and the
#: docs have no public address so far.
_RELATIVE_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:)[^)\s]*\)")
#: First line of a cell of commands. A command that fails is an error of the cell and stops the notebook, which would
#: continue after an error in `!python` or `%run`. Scripts run as processes too, so they import what the reader edits.
SHELL = "%%script bash -e"
#: First cell of code. Without it, programs may be those of another environment than the kernel's.
SETUP = """\
# Run the programs of this kernel's environment, and show their output at once.
import os
import sys

os.environ["PYTHONUNBUFFERED"] = "1"
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])"""


def notebook(page: str) -> nbformat.NotebookNode:
    """Return the notebook of a page in Markdown; the same page always gives the same notebook.

    Raises:
        ValueError: If the first line of a script does not name its file.
    """
    cells = [
        v4.new_markdown_cell(source) if kind == "text" else v4.new_code_cell(source) for kind, source in _cells(page)
    ]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # random otherwise
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    made: nbformat.NotebookNode = v4.new_notebook(cells=cells, metadata=metadata)
    return made


def _cells(page: str) -> Iterator[tuple[str, str]]:
    """Yield the kind, `text` or `code`, and the source of each cell."""
    title, *pieces = _BLOCK.split(page)  # then language, code and text, again and again
    yield "text", _plain(title)
    yield "code", SETUP
    for language, code, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        if language == "bash":
            yield "code", f"{SHELL}\n{code.rstrip()}"
        else:
            name = _name(code)
            yield "code", f"%%writefile {name}\n{code.rstrip()}"
            yield "code", f"{SHELL}\npython {name}"
        if text.strip():
            yield "text", _plain(text)


def _plain(text: str) -> str:
    return _RELATIVE_LINK.sub(r"\1", text).strip()


def _name(code: str) -> str:
    """Return the name of a script's file."""
    first = code.partition("\n")[0]
    match = re.fullmatch(r"# (\w+\.py)", first)
    if match is None:
        raise ValueError(
            f"a block of `python`: expected its file's name in the first line, as `# train.py`, got {first!r}."
        )
    return match[1]

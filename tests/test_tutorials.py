"""The tutorials, how-tos and the quick start work: they are run as notebooks, made as the docs site makes them."""

import os
import re
import shlex
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from notebooks import SETUP, SHELL, notebook

from lightning_vista.commands.shipped_configs import find_config, shipped_name
from lightning_vista.study import read_study
from lightning_vista.study.overrides import override
from lightning_vista.study.spec import merge

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in (DOCS / "quick_start.md", *(DOCS / "tutorials").glob("*.md"), *(DOCS / "howto").glob("*.md"))
    if re.search("^```(python|bash)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
)
#: Options that are added to the commands of a page, so that it needs no packages from elsewhere.
OFFLINE = {"tutorials/unlearn_topic.md": {"pretrained": ["--tiny"]}}
#: Studies whose values for a quick trial apply to the configs of a page.
SMOKES = {"tutorials/unlearn_topic.md": "absorption_pretrained"}


def quick_config(names: list[str], study: str, out: Path) -> None:
    """Write one file of these configs with a study's values for a quick trial."""
    contents = [yaml.safe_load(find_config(name).read_text(encoding="utf-8")) for name in names]
    config: dict[str, Any] = reduce(merge, contents, {})
    for key, value in read_study(find_config(study, "studies")).smoke.items():
        override(config, key, value)
    out.write_text(yaml.safe_dump(config), encoding="utf-8")


def commands(cell: NotebookNode) -> list[str]:
    """Return the commands of a cell, none if it is another one."""
    first, *lines = cell.source.splitlines()
    return [line for line in lines if line] if first == SHELL else []


def offline(line: str, page: str, folder: Path) -> str:
    """Return a command of a page with what it needs to run here, quickly."""
    program, command, *options = shlex.split(line, comments=True)  # `python train.py`, or a command of the package
    if command == "fit" and page in SMOKES:
        places = [place for place, option in enumerate(options) if option == "--config"]
        quick = f"quick_{len(list(folder.iterdir()))}.yaml"
        quick_config([options[place + 1] for place in places], SMOKES[page], folder / quick)
        options = ["--config", quick, *options[places[-1] + 2 :]]
    elif command in OFFLINE.get(page, {}):
        options += OFFLINE[page][command]
    else:
        return line
    return shlex.join([program, command, *options])


def execute(cells: NotebookNode, folder: Path) -> None:
    """Run a notebook in a folder, with this Python; an error in a cell is raised with the cell's output."""
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(cells, timeout=1500, startup_timeout=600, kernel_name="python3", resources=resources).execute()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder, with a space in its name, and settings that the kernels of a test inherit."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # no settings of whoever runs the tests
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix, "share", "jupyter")))  # no kernel of another Python
    folder = tmp_path / "my folder"
    folder.mkdir()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_page_works_as_it_says(page: str, folder: Path) -> None:
    made = notebook((DOCS / page).read_text(encoding="utf-8"))
    for cell in made.cells:
        if lines := commands(cell):
            cell.source = "\n".join([SHELL, *(offline(line, page, folder) for line in lines)])
    execute(made, folder)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_a_notebook_of_commands_and_named_scripts(page: str) -> None:
    made = notebook((DOCS / page).read_text(encoding="utf-8"))
    nbformat.validate(made)
    lines = [line for cell in made.cells for line in commands(cell)]
    assert lines
    scripts = {cell.source.split()[1] for cell in made.cells if cell.source.startswith("%%writefile ")}
    assert all(line.startswith("lightning-vista ") or line.removeprefix("python ") in scripts for line in lines)


PAGE = """\
# Title

See [the
report](../report.md#top), [`x`](x.md) and [the paper](https://example.org/paper).

```python
# first.py
VALUE = 1
```

```python
# second.py
from first import VALUE

print(VALUE)
```

Not run:

```text
pip install nothing
```

```bash
lightning-vista doctor  # a comment

lightning-vista configs
```
"""


def test_text_scripts_and_commands_become_cells() -> None:
    made = notebook(PAGE)
    assert [(cell.cell_type, cell.source) for cell in made.cells] == [
        ("markdown", "# Title\n\nSee the\nreport, `x` and [the paper](https://example.org/paper)."),
        ("code", SETUP),
        ("code", "%%writefile first.py\n# first.py\nVALUE = 1"),
        ("code", f"{SHELL}\npython first.py"),
        ("code", "%%writefile second.py\n# second.py\nfrom first import VALUE\n\nprint(VALUE)"),
        ("code", f"{SHELL}\npython second.py"),
        ("markdown", "Not run:\n\n```text\npip install nothing\n```"),
        ("code", f"{SHELL}\nlightning-vista doctor  # a comment\n\nlightning-vista configs"),
    ]
    assert made == notebook(PAGE)  # with the ids of its cells, which nbformat draws at random


def test_a_script_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="expected its file's name in the first line, .* got 'import torch'"):
        notebook("# Title\n\n```python\nimport torch\n```\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("```bash\necho printed\nfalse\ntouch late\n```", "CalledProcessError"),
        ("```python\n# wrong.py\nprint('printed')\n1 / 0\n```\n\n```bash\ntouch late\n```", "ZeroDivisionError"),
    ],
    ids=["command", "script"],
)
def test_an_error_stops_the_notebook_and_shows_what_was_printed(block: str, error: str, folder: Path) -> None:
    with pytest.raises(CellExecutionError, match=f"(?s)printed.*{error}"):
        execute(notebook(f"# Title\n\n{block}\n"), folder)
    assert not (folder / "late").exists()


@pytest.mark.slow
def test_a_notebook_runs_the_programs_of_its_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = folder.with_name("other")
    other.mkdir()
    for name in ("python", "lightning-vista"):
        (other / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (other / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}{os.pathsep}{os.environ['PATH']}")
    execute(notebook("# Title\n\n```bash\ncommand -v python lightning-vista > programs.txt\n```\n"), folder)
    found = [Path(line) for line in (folder / "programs.txt").read_text(encoding="utf-8").splitlines()]
    assert found == [Path(sys.executable).with_name(name) for name in ("python", "lightning-vista")]


@pytest.mark.slow
def test_the_site_offers_each_tutorial_as_a_notebook(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=DOCS.parent, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=True, timeout=600)
    for path in (DOCS / "tutorials").glob("*.md"):
        made = nbformat.read(tmp_path / "tutorials" / f"{path.stem}.ipynb", as_version=4)
        assert made == notebook(path.read_text(encoding="utf-8"))
        page = (tmp_path / "tutorials" / path.stem / "index.html").read_text(encoding="utf-8")
        assert f'href="../{path.stem}.ipynb"' in page


def test_every_page_with_code_is_run() -> None:
    assert {f"tutorials/{path.name}" for path in (DOCS / "tutorials").glob("*.md")} <= set(PAGES)


def test_every_shipped_config_that_a_page_names_exists() -> None:
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"--config ([\w/]+\.yaml)", text):
            if not name.startswith(("my", "runs/", "era", "adapters", "X")):
                shipped_name(name)

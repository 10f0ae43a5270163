"""The tutorials, how-tos and the quick start work: their scripts and commands run as the pages show them, in order."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_vista.commands.shipped_configs import find_config, shipped_name
from lightning_vista.study import read_study
from lightning_vista.study.overrides import override
from lightning_vista.study.spec import merge

DOCS = Path(__file__).parents[1] / "docs"
#: Blocks of the pages: scripts, whose first line names them, and commands. Blocks of `text` and `yaml` are not run.
BLOCK = re.compile(r"```(python|bash)\n(.*?)```", flags=re.DOTALL)
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in (DOCS / "quick_start.md", *(DOCS / "tutorials").glob("*.md"), *(DOCS / "howto").glob("*.md"))
    if BLOCK.search(path.read_text(encoding="utf-8"))
)
#: Options that are added to the commands of a page, so that it needs no packages from elsewhere.
OFFLINE = {"tutorials/unlearn_topic.md": {"pretrained": ["--tiny"]}}
#: Studies whose values for a quick trial apply to the configs of a page.
SMOKES = {"tutorials/unlearn_topic.md": "absorption_pretrained"}


def quick_config(names: list[str], study: str) -> str:
    """Write one file of these configs with a study's values for a quick trial, and return its name."""
    contents = [yaml.safe_load(find_config(name).read_text(encoding="utf-8")) for name in names]
    config: dict[str, Any] = reduce(merge, contents, {})
    for key, value in read_study(find_config(study, "studies")).smoke.items():
        override(config, key, value)
    Path("quick.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return "quick.yaml"


def steps(page: str) -> Iterator[list[str]]:
    """Yield the commands of a page, its scripts written as files first."""
    for language, code in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", code)
            assert name, f"{page}: a script without a name in its first line"
            Path(name[1]).write_text(code, encoding="utf-8")
            yield [name[1]]
            continue
        for line in filter(None, code.splitlines()):
            program, command, *options = shlex.split(line, comments=True)
            assert program == "lightning-vista"
            if command == "fit" and page in SMOKES:
                places = [place for place, option in enumerate(options) if option == "--config"]
                quick = quick_config([options[place + 1] for place in places], SMOKES[page])
                options = ["--config", quick, *options[places[-1] + 2 :]]
            # -P: the program `lightning-vista` does not have the current folder on its path as `python -m` has.
            yield ["-P", "-m", "lightning_vista", command, *options, *OFFLINE.get(page, {}).get(command, [])]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_page_works_as_it_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    done = 0
    for arguments in steps(page):
        result = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=1500
        )
        assert result.returncode == 0, f"{arguments}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"
        done += 1
    assert done


def test_every_page_with_code_is_run() -> None:
    assert {f"tutorials/{path.name}" for path in (DOCS / "tutorials").glob("*.md")} <= set(PAGES)


def test_every_shipped_config_that_a_page_names_exists() -> None:
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"--config ([\w/]+\.yaml)", text):
            if not name.startswith(("my", "runs/", "era", "adapters", "X")):
                shipped_name(name)

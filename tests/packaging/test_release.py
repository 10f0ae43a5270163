"""The places that name the version agree, as the release workflow demands."""

import re
import tomllib
from pathlib import Path

import yaml

import lightning_vista

ROOT = Path(__file__).parents[2]


def test_every_place_names_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert project["version"] == lightning_vista.__version__ == citation["version"] == released[0]


def test_the_release_workflow_publishes_only_what_was_checked_and_tried_on_every_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tried = workflow["jobs"]["try"]["strategy"]["matrix"]["python"]
    named = [text.rpartition(" ")[2] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert tried == named
    assert {"try", "check"} <= set(workflow["jobs"]["publish"]["needs"])
    commands = [step.get("run") for step in workflow["jobs"]["check"]["steps"]]
    assert {"make check", "make test", "make docs"} <= set(commands)


def test_all_contains_every_extra_for_users() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    reached, waiting = set(), ["all"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        for requirement in extras[name]:
            if requirement.startswith("lightning-vista["):
                waiting += requirement[len("lightning-vista[") : -1].split(",")
    assert set(extras) - reached == {"dev", "docs", "pretrained", "tensorboard", "mlflow"}  # see their comments

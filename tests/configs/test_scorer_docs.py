"""Every scorer has a YAML, and every YAML of a scorer has a row in the documentation that names its class."""

import inspect
import pkgutil
import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import lightning_vista.scorers
from lightning_vista.scorers import VLMScorer

ROOT = Path(__file__).parents[2]


def concrete_scorers() -> set[str]:
    """Names of the classes that a user can run, exported or not."""
    names = pkgutil.walk_packages(lightning_vista.scorers.__path__, "lightning_vista.scorers.")
    modules = [import_module(name.name) for name in names]
    classes = {member for module in modules for _, member in inspect.getmembers(module, inspect.isclass)}
    own = {each for each in classes if issubclass(each, VLMScorer) and each.__module__.startswith("lightning_vista.")}
    return {each.__name__ for each in own if not inspect.isabstract(each)}


def classes_of_configs() -> dict[str, str]:
    """Name of each YAML -> class of its model, for those that evaluate a scorer."""
    documents = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "configs" / "vista").glob("*.yaml")}
    evaluated = {
        name: content["model"]["class_path"].rpartition(".")[2]
        for name, content in documents.items()
        if content["data"]["class_path"].endswith("ViSTaDataModule")
    }
    return dict(sorted(evaluated.items()))


def documented() -> dict[str, str]:
    """Name of each config in the table of docs/scorers.md -> class of its row."""
    text = (ROOT / "docs" / "scorers.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    start = rows.index(["scorer", "class", "config", "oracle", "runs on", "not verified"])
    found: dict[str, str] = {}
    for row in rows[start + 2 :]:
        if len(row) != 6 or row[0] == "scorer":
            break
        found |= {name: row[1].strip("`") for name in re.findall(r"`(\w+)`", row[2])}
    return found


@pytest.mark.parametrize("name", sorted(concrete_scorers()))
def test_every_scorer_has_a_config_and_a_row(name: str) -> None:
    assert name in classes_of_configs().values()
    assert name in documented().values()


def test_rows_and_configs_are_the_same() -> None:
    assert dict(sorted(documented().items())) == classes_of_configs()


def test_every_config_is_run_and_listed() -> None:
    tests = runpy.run_path(str(Path(__file__).with_name("test_configs.py")))  # the lists of what those tests run

    run = {Path(config).stem for config in (*tests["CHATS"], *tests["EVALUATIONS"])}
    assert run == set(classes_of_configs())
    listed = set(re.findall(r"`(\w+)\.yaml`", (ROOT / "configs" / "vista" / "README.md").read_text()))
    assert run <= listed
    chats = (ROOT / "tests" / "configs" / "test_chat_configs.py").read_text()
    assert [name for name in (Path(config).stem for config in tests["CHATS"]) if f'"{name}' not in chats] == []

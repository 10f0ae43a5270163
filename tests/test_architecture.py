"""The directions that imports may take, and how plugins are imported."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = ("callbacks", "datamodules")
CORE = [path for path in (ROOT / "lightning_vista").rglob("*.py") if path.parts[len(ROOT.parts) + 1] not in PLUGINS]


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_does_not_import_plugins(path: Path) -> None:
    if path.name == "cli.py":
        return
    forbidden = tuple(f"lightning_vista.{plugin}" for plugin in PLUGINS)
    assert not [module for module in imported_modules(path) if module.startswith(forbidden)]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_do_not_import_each_other(plugin: str) -> None:
    (other,) = set(PLUGINS) - {plugin}
    for path in (ROOT / plugin).rglob("*.py"):
        assert not [m for m in imported_modules(path) if m.startswith((f"lightning_vista.{other}", other))], path


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_links_make_the_top_level_folders_subpackages(plugin: str) -> None:
    link = ROOT / "lightning_vista" / plugin
    assert link.is_symlink()
    assert link.readlink() == Path("..") / plugin


def test_files_stay_readable_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for folder in ("lightning_vista", "callbacks", "datamodules")
        for path in (ROOT / folder).rglob("*.py")
        if (count := path.read_text(encoding="utf-8").count("\n")) > 400
    }
    assert not long


def test_callbacks_do_not_pull_in_optional_packages() -> None:
    """The routing half stays light: none of the extras' packages is imported with the callbacks."""
    code = (
        "import sys, lightning; before = set(sys.modules); import lightning_vista.callbacks; "
        "print({'av', 'polars', 'webdataset', 'transformers', 'plotly', 'minigrid'} & (set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"

"""The directions that imports may take, the names of things, and how plugins are imported."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = ("callbacks", "datamodules")
#: Rooms from the ground up; files directly in the package are "common", but for the command line, which is the roof.
FLOORS = (
    {"common"},
    {"processes"},
    {"files"},
    {"drawing"},
    {"video", "text", "routing"},
    {"vista"},
    {"metrics", "integrations"},
    {"evaluation", "mini", "models", "oversight"},
    {"scorers", "reports"},
    {"rewards", "study"},
    {"callbacks", "datamodules"},
    {"commands"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module of the package by its full name; links are followed once."""
    found = {}
    for folder in ("lightning_vista", *PLUGINS):
        for path in (ROOT / folder).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name if folder == "lightning_vista" else f"lightning_vista.{name}"] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """The package's modules that a file imports, anywhere but for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            block.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in names]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def room(module: str) -> str:
    parts = module.split(".")
    if parts[1:] in (["cli"], ["__main__"]):
        return "cli"
    return parts[1] if len(parts) > 1 and MODULES[".".join(parts[:2])].name == "__init__.py" else "common"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "lightning_vista"])
def test_imports_go_down(module: str) -> None:
    """The package's own `__init__` is left out: it only names what it exports, as strings."""
    wrong = [other for other in imported(MODULES[module]) if room(other) != room(module)]
    wrong = [other for other in wrong if other != "lightning_vista" and FLOOR[room(other)] >= FLOOR[room(module)]]
    assert not wrong


def test_no_imports_go_in_circles() -> None:
    """Packages are left out: importing a module of a room runs the room's `__init__`, which only re-exports."""
    plain = {name: path for name, path in MODULES.items() if path.name != "__init__.py"}
    TopologicalSorter(
        {name: [other for other in imported(path) if other in plain] for name, path in plain.items()}
    ).prepare()


def test_every_name_exists_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in MODULES.items():
        if path.name not in ("__init__.py", "__main__.py"):
            places[f"file {path.name}"].append(module)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    assert not {name: homes for name, homes in places.items() if len(homes) > 1}


@pytest.mark.parametrize("plugin", [*PLUGINS, "configs"])
def test_the_links_make_the_top_level_folders_subpackages(plugin: str) -> None:
    link = ROOT / "lightning_vista" / plugin
    assert link.is_symlink()
    assert link.readlink() == Path("..") / plugin


def test_files_stay_readable_in_one_sitting() -> None:
    lengths = {name: path.read_text(encoding="utf-8").count("\n") for name, path in MODULES.items()}
    assert not {name: length for name, length in lengths.items() if length > 400}


@pytest.mark.parametrize("module", ["lightning_vista", "lightning_vista.callbacks"])
def test_callbacks_do_not_pull_in_optional_packages(module: str) -> None:
    """The routing half stays light: none of the extras' packages is imported with the callbacks."""
    code = (
        f"import sys, lightning; before = set(sys.modules); import {module}; "
        "print({'av', 'polars', 'webdataset', 'transformers', 'minigrid'} & (set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("package", ["lightning_vista", "lightning_vista.datamodules", "lightning_vista.evaluation"])
def test_a_package_exports_the_names_of_its_stub(package: str) -> None:
    code = (
        f"import sys; import {package}; package = sys.modules[{package!r}]; assert 'torch' not in sys.modules; "
        "print([name for name in package.__all__ if not hasattr(package, name)], len(package.__all__) > 5)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[] True"

"""What the modules need at import: packages of every installation, or one whose extra the error names."""

import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

_IMPORT_ALL = """
import importlib, pkgutil, sys

sys.path += sys.argv[1:]
import lightning_vista

for module in pkgutil.walk_packages(lightning_vista.__path__, "lightning_vista.", onerror=lambda name: None):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(f"{module.name}: {error}")
"""


def _with_requirements(name: str, extra: str, found: dict[tuple[str, str], Distribution]) -> None:
    """Add a distribution and all that is installed with it; its own extra is empty for none."""
    found[name, extra] = distribution(name)
    for requirement in map(Requirement, found[name, extra].requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for further in {"", *requirement.extras}:
                if (requirement.name, further) not in found:
                    _with_requirements(requirement.name, further, found)


def test_without_extras_every_module_imports_or_names_its_extra(tmp_path: Path) -> None:
    """In an environment of links to the packages that come without extras."""
    packages: dict[tuple[str, str], Distribution] = {}
    _with_requirements("lightning-vista", "", packages)
    assert ("polars", "") not in packages
    for package in packages.values():
        for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(str(package.locate_file(name)))
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-S", "-W", "ignore", "-c", _IMPORT_ALL, str(tmp_path), root]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.splitlines()
    assert lines
    assert not [line for line in lines if "pip install 'lightning-vista[" not in line]

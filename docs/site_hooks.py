"""Hooks of the docs site: reference pages, results, notebooks, and links to the repository's files outside `docs/`."""

import ast
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebooks import notebook

ROOT = Path(__file__).parents[1]
#: Folder of the site that holds copies of the repository's files.
COPIES = "repository"
#: Folder of the pages that are also offered as notebooks.
TUTORIALS = "tutorials/"
#: Places in reference pages: all that a module exports, and the help of a command.
_EXPORTS = re.compile(r"<!-- exports: ([\w.]+) -->")
_HELP = re.compile(r"<!-- help: ([\w -]+?) -->")
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List all results pages in the navigation."""
    pages = sorted(path.name for path in (ROOT / "docs/results").glob("*.md") if path.name != "README.md")
    for section in config.nav or []:
        if isinstance(section, dict) and "Results" in section:
            section["Results"] = ["results/README.md", *(f"results/{name}" for name in pages)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add notebooks, and copies of the files outside `docs/` that pages link to, and of those that these link to."""
    waiting = [(file.src_uri, Path(str(file.abs_src_path))) for file in files.documentation_pages()]
    while waiting:
        uri, path = waiting.pop()
        text = path.read_text(encoding="utf-8")
        if uri.startswith(TUTORIALS):
            content = nbformat.writes(notebook(text))
            files.append(File.generated(config, uri.removesuffix(".md") + ".ipynb", content=content))
        for target in _outside(uri, text):
            copy = f"{COPIES}/{target}"
            if files.get_file_from_path(copy) is None and (ROOT / target).is_file():
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / target)))
                if target.endswith(".md"):
                    waiting.append((copy, ROOT / target))
            elif (ROOT / target).is_dir() and files.get_file_from_path(f"{copy}/index.md") is None:
                files.append(File.generated(config, f"{copy}/index.md", content=_listing(target)))
                for name in _names(target):
                    files.append(File.generated(config, f"{copy}/{name}", abs_src_path=str(ROOT / target / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Fill in reference pages, link to notebooks, and point links that leave `docs/` to the copies."""
    markdown = _EXPORTS.sub(lambda match: "\n\n".join(f"::: {path}" for path in exported(match[1])), markdown)
    markdown = _HELP.sub(lambda match: f"```text\n{command_help(match[1].split())}```", markdown)
    uri = page.file.src_uri
    if uri.startswith(TUTORIALS):
        name = posixpath.basename(uri).removesuffix(".md") + ".ipynb"
        title, text = markdown.split("\n", 1)
        # Without `download`, a browser shows the JSON.
        markdown = f'{title}\n\n[Download this page as a notebook]({name}){{download="{name}"}}\n{text}'

    def change(match: re.Match[str]) -> str:
        target = _target(uri, match[2])
        if target is None:
            return match[0]
        copy = f"{COPIES}/{target}"
        copy += "/index.md" if (ROOT / target).is_dir() else ""
        inside = target.removeprefix("docs/") if target.startswith("docs/") else copy
        return f"{match[1]}{posixpath.relpath(inside, posixpath.dirname(uri) or '.')}{match[3]}"

    return _LINK.sub(change, markdown)


def exported(module: str) -> list[str]:
    """Return the full paths of what a module exports.

    These are the names of its stub or its `__all__`, else its public classes and functions. What a module exports from
    another room is on the page of that room.
    """
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    stub = file.with_suffix(".pyi")
    tree = ast.parse((stub if stub.exists() else file).read_text(encoding="utf-8"))
    homes = {
        alias.asname or alias.name: f"{module}." * node.level + f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = list(homes) if stub.exists() else _declared(tree)
    if names is not None:
        return [homes[name] for name in names if homes.get(name, "").startswith(f"{module}.")]
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [f"{module}.{node.name}" for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def _declared(tree: ast.Module) -> list[str] | None:
    """Return the names of `__all__`, or None without it."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def command_help(command: list[str]) -> str:
    """Return the help of a command of `lightning-vista`."""
    sys.path.insert(0, str(ROOT))
    from lightning_vista.cli import _parser

    parser = _parser()
    for word in command:
        groups = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
        parser = groups[0][word]
    return parser.format_help()


def _outside(uri: str, text: str) -> list[str]:
    """Return the paths in the repository of the linked files outside `docs/`."""
    targets = [_target(uri, match[2]) for match in _LINK.finditer(text)]
    return [target for target in targets if target is not None and not target.startswith("docs/")]


def _target(uri: str, link: str) -> str | None:
    """Return the path in the repository of a link that leaves its part of it, or None for other links."""
    if "://" in link or link.startswith(("mailto:", "/")):
        return None
    is_copy = uri.startswith(f"{COPIES}/")
    place = uri.removeprefix(f"{COPIES}/") if is_copy else f"docs/{uri}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
    if not (ROOT / target).exists() or target.startswith(".."):
        return None  # reported by mkdocs as a broken link
    return target if is_copy or not target.startswith("docs/") else None


def _names(folder: str) -> list[str]:
    return sorted(path.name for path in (ROOT / folder).iterdir() if path.is_file())


def _listing(folder: str) -> str:
    lines = "\n".join(f"- [{name}]({name})" for name in _names(folder))
    return f"# `{folder}/`\n\n{lines}\n"

"""The YAML files that come with the package, found by name."""

import shutil
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

#: A link to the repository's `configs/`, and an ordinary folder in the installed package.
CONFIGS = Path(__file__).parents[1] / "configs"


def shipped_configs() -> dict[str, Path]:
    """Return the path of every shipped YAML file by its name, such as `vista/clip_small.yaml`; sorted by name."""
    return {path.relative_to(CONFIGS).as_posix(): path for path in sorted(CONFIGS.rglob("*.yaml"))}


def find_config(name: str, folder: str = "") -> Path:
    """Find a YAML file: the one at that path, else the shipped one of that name.

    Args:
        name: A path, or the name of a shipped file; `configs/` in front and `.yaml` at the end may be left out.
        folder: Folder of shipped files in which short names are looked up, too, such as `studies`.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: If there is neither such a file nor such a name; names the closest one.

    Example:
        >>> find_config("vista/clip_small").name, find_config("unlearning_stories", "studies").parent.name
        ('clip_small.yaml', 'studies')
    """
    return Path(name) if Path(name).is_file() else CONFIGS / shipped_name(name, folder)


def shipped_name(name: str, folder: str = "") -> str:
    """Return the full name of a shipped file.

    Args:
        name: Its name; `configs/` in front and `.yaml` at the end may be left out.
        folder: Folder of shipped files in which short names are looked up, too.

    Raises:
        FileNotFoundError: If no shipped file has this name; suggests the closest one.

    Example:
        >>> shipped_name("configs/vista/clip.yaml"), shipped_name("partition_digits", "studies")
        ('vista/clip.yaml', 'studies/partition_digits.yaml')
    """
    shipped = shipped_configs()
    wanted = PurePosixPath(name.removeprefix("./").removeprefix("configs/")).as_posix().removesuffix(".yaml") + ".yaml"
    for candidate in (wanted, f"{folder}/{wanted}"):
        if candidate in shipped:
            return candidate
    raise FileNotFoundError(
        f"No YAML file at {name}, and no shipped configuration of that name.{_closest(wanted, list(shipped), folder)} "
        "`lightning-vista configs` lists the shipped ones."
    )


def with_config_paths(arguments: Sequence[str]) -> list[str]:
    """Replace names of shipped files behind `--config` by their paths.

    Args:
        arguments: Arguments of a command of LightningCLI.

    Returns:
        The arguments with paths of existing files behind each `--config`, `--config=` and `-c`.

    Raises:
        FileNotFoundError: If there is neither such a file nor such a name.
        ValueError: If a file is not YAML.
    """
    changed = list(arguments)
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option not in ("--config", "-c"):
            continue
        if equals:
            changed[place] = f"{option}={_checked(find_config(value))}"
        elif place + 1 < len(changed):
            changed[place + 1] = str(_checked(find_config(changed[place + 1])))
    return changed


def _checked(path: Path) -> Path:
    """Refuse a file that is not YAML; names the file, which jsonargparse does not."""
    try:
        yaml.compose(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: expected YAML: {_yaml_fault(error)}. Fix the file.") from error
    return path


def _yaml_fault(error: Exception) -> str:
    """Return what is wrong and where, without the line itself, which may hold a password."""
    mark: Any = getattr(error, "problem_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return " ".join(str(error).split())
    return f"{f'{error.context}: ' if error.context else ''}{error.problem}, line {mark.line + 1}"


def config_summary(path: Path) -> str:
    """Return the title of a study, or the first sentence of the comment at the head of another YAML file.

    Args:
        path: The YAML file.
    """
    text = path.read_text(encoding="utf-8")
    content: Any = yaml.safe_load(text)
    if isinstance(content, dict) and "title" in content:
        return str(content["title"])
    return " ".join(_head(text)).split(". ")[0].rstrip(".:")


def copy_configs(names: Sequence[str], folder: Path) -> list[Path]:
    """Copy shipped files with those that they refer to, in folders as they are shipped.

    Args:
        names: Names of shipped files.
        folder: Folder to write; it is created.

    Returns:
        The files that exist now, in the order of their names.

    Raises:
        FileExistsError: If a file with another content is in the way. Nothing is copied then.
    """
    shipped = shipped_configs()
    wanted = set(names)
    for name in names:
        wanted |= {path.resolve().relative_to(CONFIGS.resolve()).as_posix() for path in _references(shipped[name])}
    targets = {folder / name: shipped[name] for name in sorted(wanted)}
    changed = [str(path) for path, source in targets.items() if path.exists() and not _equal(path, source)]
    if changed:
        raise FileExistsError(
            f"{', '.join(changed)}: expected no file or an unchanged copy, got another content. Move it, or copy to "
            "another folder."
        )
    for path, source in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    return list(targets)


def _closest(name: str, names: Sequence[str], folder: str) -> str:
    """Return ` Did you mean 'this'?` for the closest name: in the folder, with its folder, or of another folder."""
    files = {PurePosixPath(known).name: known for known in names}
    inside = [known for known in names if known.startswith(f"{folder}/")] if folder else []
    close = get_close_matches(f"{folder}/{name}", inside, n=1, cutoff=0.8) or get_close_matches(name, names, n=1)
    close = close or [files[found] for found in get_close_matches(PurePosixPath(name).name, list(files), 1, 0.7)]
    return f" Did you mean {close[0]!r}?" if close else ""


def _head(text: str) -> Iterator[str]:
    """Yield the words of the first paragraph of comments."""
    for line in text.splitlines():
        if not line.startswith("# "):
            return
        yield line.removeprefix("# ").strip()


def _equal(path: Path, other: Path) -> bool:
    return path.read_bytes() == other.read_bytes()


def _references(path: Path) -> Iterator[Path]:
    """Yield the files that a study's `configs` name, relative to it."""
    content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    parts = [content, *content.get("runs", [])] if isinstance(content, dict) else []
    for part in parts:
        yield from (path.parent / name for name in part.get("configs", []))

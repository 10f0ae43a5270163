"""Configs by name, and the command that lists, prints and copies them."""

from pathlib import Path

import pytest
import yaml

from lightning_vista.cli import main
from lightning_vista.commands.shipped_configs import (
    config_summary,
    copy_configs,
    find_config,
    shipped_configs,
    with_config_paths,
)
from lightning_vista.study import read_study

ROOT = Path(__file__).parents[3]


def test_every_config_is_shipped_and_says_what_it_is() -> None:
    wanted = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert set(shipped_configs()) == wanted
    summaries = {name: config_summary(path) for name, path in shipped_configs().items()}
    assert not [name for name, summary in summaries.items() if not 10 < len(summary) < 240]


@pytest.mark.parametrize(
    "name", ["vista/clip_small.yaml", "vista/clip_small", "configs/vista/clip_small.yaml", "./configs/vista/clip_small"]
)
def test_a_config_is_found_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(name).read_bytes() == (ROOT / "configs/vista/clip_small.yaml").read_bytes()


def test_a_file_at_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vista").mkdir()
    (tmp_path / "vista/clip_small.yaml").write_text("mine: 1")
    assert find_config("vista/clip_small.yaml") == Path("vista/clip_small.yaml")
    arguments = ["test", "--config", "vista/clip_small.yaml", "--config=vista/clip.yaml", "-c", "vista/random.yaml"]
    changed = with_config_paths(arguments)
    assert changed[2] == "vista/clip_small.yaml"
    assert changed[3] == f"--config={shipped_configs()['vista/clip.yaml']}"
    assert changed[5] == str(shipped_configs()["vista/random.yaml"])


def test_a_misspelt_name_shows_the_closest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["test", "--config", "vista/clip_smal.yaml"], ["configs", "clip_smal.yaml"]):
        with pytest.raises(SystemExit, match="Did you mean 'vista/clip_small.yaml'"):
            main(command)
    with pytest.raises(SystemExit, match="Did you mean 'studies/unlearning_stories.yaml'"):
        main(["study", "unlearning_storys"])


def test_every_study_is_read_by_name_with_what_it_refers_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [Path(name).stem for name in shipped_configs() if name.startswith("studies/")]
    assert len(names) > 20
    for name in names:
        study = read_study(find_config(name, "studies"))
        for config in (*study.configs, *(config for run in study.runs for config in run.configs)):
            assert yaml.safe_load(Path(config).read_text(encoding="utf-8"))


def test_configs_are_listed_printed_and_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["configs"])
    assert len(capsys.readouterr().out.splitlines()) == len(shipped_configs())
    main(["configs", "vista"])
    listed = capsys.readouterr().out
    assert "vista/clip_small.yaml" in listed
    assert "studies" not in listed
    main(["configs", "vista/clip_small.yaml"])
    assert capsys.readouterr().out == (ROOT / "configs/vista/clip_small.yaml").read_text(encoding="utf-8")
    main(["configs", "unlearning_stories", "--copy", "mine"])
    copied = capsys.readouterr().out.splitlines()
    assert str(Path("mine/studies/unlearning_stories.yaml")) in copied
    assert str(Path("mine/unlearning/base.yaml")) in copied
    assert read_study("mine/studies/unlearning_stories.yaml").configs


def test_a_copy_never_replaces_what_was_changed(tmp_path: Path) -> None:
    copy_configs(["vista/clip.yaml"], tmp_path)
    copy_configs(["vista/clip.yaml"], tmp_path)
    (tmp_path / "vista/clip.yaml").write_text("changed: 1")
    with pytest.raises(FileExistsError, match="expected no file or an unchanged copy"):
        copy_configs(["vista/clip.yaml", "vista/random.yaml"], tmp_path)
    assert not (tmp_path / "vista/random.yaml").exists()

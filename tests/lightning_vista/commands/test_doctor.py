"""The doctor tells what is missing here, and never shows a key."""

from importlib import metadata

import pytest

from lightning_vista.cli import main
from lightning_vista.commands import doctor


@pytest.fixture
def requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with three extras, of which one contains another."""
    listed = [
        "torch>=2", 'pyyaml>=1; extra == "small"', 'no-such-package>=3; extra == "small"',
        'lightning-vista[small]; extra == "large"', 'torch>=9999; extra == "large"', 'torch; extra == "fine"',
    ]  # fmt: skip
    monkeypatch.setattr(metadata, "requires", lambda name: listed)


@pytest.mark.usefixtures("requirements")
def test_missing_and_old_packages_are_found_through_extras() -> None:
    found = doctor.missing_packages()
    assert found == {"small": ["no-such-package>=3"], "large": ["no-such-package>=3", "torch>=9999"], "fine": []}


def test_every_extra_that_a_feature_names_exists() -> None:
    extras = set(metadata.metadata("lightning-vista").get_all("Provides-Extra") or ())
    assert {feature.extra for feature in doctor.FEATURES} - {""} <= extras


def test_keys_are_present_but_not_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "secret" not in printed
    assert "OPENAI_API_KEY: present" in printed
    assert "ANTHROPIC_API_KEY: not set" in printed
    assert "MISSING models of Anthropic: " in printed
    assert "the environment variable ANTHROPIC_API_KEY" in printed
    for title in ("Versions", "Devices", "Extras", "Caches", "Features"):
        assert f"{title}\n" in printed


def test_a_missing_extra_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "missing_packages", lambda: {"mini": ["crafter>=1"], "vista": []})
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "mini       missing: crafter>=1" in printed
    assert "MISSING the embedded dataset (demo, mini): pip install 'lightning-vista[mini]'" in printed
    assert "ok      reports and studies of scores" in printed


@pytest.mark.parametrize(("lacking", "state"), [("torchvision", "ok     "), ("matplotlib>=3.9", "MISSING")])
def test_pictures_of_routing_need_a_part_of_their_extra(
    lacking: str, state: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "missing_packages", lambda: {"plots": [lacking]})
    main(["doctor"])
    assert f"{state} pictures of routing" in capsys.readouterr().out

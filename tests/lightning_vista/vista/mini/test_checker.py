import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lightning_vista.vista.mini.build import build_mini
from lightning_vista.vista.mini.checker import check_draft, check_mini
from lightning_vista.vista.mini.draft import Draft
from lightning_vista.vista.mini.home import HOME
from lightning_vista.vista.mini.slots import Slot, sample_draft


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize(("type", "level"), sorted(HOME.counts))
def test_every_video_shows_its_description_and_no_other(type: str, level: int, index: int) -> None:
    assert check_draft(sample_draft(Slot("test", "home", type, level, index))) == []


@pytest.fixture
def draft() -> Draft:
    return sample_draft(Slot("test", "home", "permutation", 4, 0))


def test_swapped_descriptions_are_found(draft: Draft) -> None:
    a, b, *others = draft.steps
    wrong = replace(
        draft, steps={a: draft.steps[b], b: draft.steps[a], **{label: draft.steps[label] for label in others}}
    )
    faults = check_draft(wrong)
    assert any("does not show its description 'a'" in fault for fault in faults)
    assert any("could be taken for description 'b'" in fault for fault in faults)


def test_a_step_too_few_or_of_another_thing_is_found(draft: Draft) -> None:
    steps = dict(draft.steps)
    (label,), _ = draft.episodes[0]
    for wrong in (steps[label][1:], (*steps[label][:-1], replace(steps[label][-1], thing="grey ghost"))):
        assert (
            f"video 0 does not show its description {label!r}"
            in check_draft(replace(draft, steps={**steps, label: wrong}))[0]
        )


def test_a_second_true_description_is_found(draft: Draft) -> None:
    (label,), _ = draft.episodes[0]
    wrong = replace(draft, steps={**draft.steps, "part": draft.steps[label][:2]})
    assert any("could be taken for description 'part'" in fault for fault in check_draft(wrong))


@pytest.mark.parametrize(("type", "planted"), [("on_v_off", "is turned"), ("objects", "We see")])
def test_a_view_that_is_not_there_is_found(type: str, planted: str) -> None:
    draft = sample_draft(Slot("test", "home", type, 1, 0))
    a, b, *_ = draft.steps
    wrong = replace(draft, steps={**draft.steps, a: draft.steps[b], b: draft.steps[a]})
    assert all(planted in fault for fault in check_draft(wrong))
    assert len(check_draft(wrong)) > 1


def test_a_built_dataset_passes_and_each_damage_is_named(tmp_path: Path) -> None:
    root = tmp_path / "mini"
    build_mini(root, scale=0.01, splits=["val"], num_workers=1)
    assert check_mini(root) == []
    tasks, videos = root / "val" / "tasks" / "home", root / "val" / "videos" / "home"
    header = yaml.safe_load((tasks / "level_2/permutation/val_00.yaml").read_text())
    header["label_prompts"]["a"], header["label_prompts"]["b"] = (
        header["label_prompts"]["b"],
        header["label_prompts"]["a"],
    )
    (tasks / "level_2/permutation/val_00.yaml").write_text(yaml.safe_dump(header))
    shutil.copy(videos / "level_3/remix/val_00/0.mp4", videos / "level_3/remix/val_00/1.mp4")
    (videos / "level_8/remix/val_00/2.mp4").unlink()
    (videos / "foundation/toggle/val_00/0.mp4").write_bytes(b"not a video")
    faults = "\n".join(check_mini(root))
    assert faults.count("\n") == 3
    assert "home/level_2/permutation/val_00: its YAML or JSON file is not what was built" in faults
    assert "level_3/remix/val_00/1.mp4 shows something else" in faults
    assert "level_8/remix/val_00/2.mp4 cannot be read" in faults
    assert "foundation/toggle/val_00/0.mp4 cannot be read" in faults


def test_an_unfinished_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mini.json").write_text(json.dumps({"settings": {}}))
    with pytest.raises(FileNotFoundError, match="build it there first"):
        check_mini(tmp_path)

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lightning_vista.mini import build, checker
from lightning_vista.mini.build import build_mini
from lightning_vista.mini.checker import check_draft, check_mini
from lightning_vista.mini.draft import Draft
from lightning_vista.mini.slots import WORLDS, Slot, sample_draft, slots


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize(
    ("world", "type", "level"), [(name, *key) for name, world in WORLDS.items() for key in sorted(world.counts)]
)
def test_every_video_shows_its_description_and_no_other(world: str, type: str, level: int, index: int) -> None:
    assert check_draft(sample_draft(Slot("test", world, type, level, index))) == []


@pytest.fixture(params=[("home", 4), ("craft", 3)], ids=["home", "craft"])
def draft(request: pytest.FixtureRequest) -> Draft:
    world, level = request.param
    return sample_draft(Slot("test", world, "permutation", level, 0))


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


def test_a_label_too_few_or_too_many_is_found() -> None:
    draft = sample_draft(Slot("test", "craft", "foundation", 1, 0))
    number, (labels, episode) = next((n, play) for n, play in enumerate(draft.episodes) if len(play[0]) > 1)
    for wrong, expected in (
        (labels[1:], [f"does not show its description {labels[1]!r}", f"taken for description {labels[0]!r}"]),
        ((*labels, next(label for label in draft.steps if label not in labels)), [f"description {labels[0]!r}"]),
    ):
        others = draft.episodes[:number], draft.episodes[number + 1 :]
        faults = check_draft(replace(draft, episodes=(*others[0], (wrong, episode), *others[1])))
        assert [text in fault for text, fault in zip(expected, faults, strict=True)] == [True] * len(expected)
        assert all(fault.startswith(f"video {number} ") for fault in faults)


@pytest.mark.parametrize(("type", "planted"), [("on_v_off", "is turned"), ("objects", "We see")])
def test_a_view_that_is_not_there_is_found(type: str, planted: str) -> None:
    draft = sample_draft(Slot("test", "home", type, 1, 0))
    a, b, *_ = draft.steps
    wrong = replace(draft, steps={**draft.steps, a: draft.steps[b], b: draft.steps[a]})
    assert all(planted in fault for fault in check_draft(wrong))
    assert len(check_draft(wrong)) > 1


def test_a_built_dataset_passes_and_each_damage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [("permutation", 2), ("remix", 3), ("remix", 8), ("toggle", 1), ("foundation", 1)]
    few = [slot for slot in slots(["val"], 0.01) if (slot.type, slot.level) in kept]
    for module in (build, checker):
        monkeypatch.setattr(module, "slots", lambda splits, scale: few)
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
    craft = root / "val" / "videos" / "craft" / "foundation" / "val_00"
    shutil.copy(craft / "3.mp4", craft / "4.mp4")
    faults = "\n".join(check_mini(root))
    assert faults.count("\n") == 4
    assert "home/level_2/permutation/val_00: its YAML or JSON file is not what was built" in faults
    assert "level_3/remix/val_00/1.mp4 shows something else" in faults
    assert "craft/foundation/val_00: foundation/val_00/4.mp4 shows something else" in faults
    assert "level_8/remix/val_00/2.mp4 cannot be read" in faults
    assert "foundation/toggle/val_00/0.mp4 cannot be read" in faults


def test_an_unfinished_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mini.json").write_text(json.dumps({"settings": {}}))
    with pytest.raises(FileNotFoundError, match="Build it there first"):
        check_mini(tmp_path)

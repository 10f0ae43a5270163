import csv
from itertools import product
from pathlib import Path

import pytest

from lightning_vista.mini.steps import Step, describe, describe_part
from lightning_vista.vista.sequences import beginnings

GO = "go to the {thing}"
STEPS = [Step(GO, f"{colour} {thing}") for colour, thing in product(("red", "blue"), ("ball", "box", "key", "door"))]


@pytest.mark.parametrize("level", range(1, 9))
def test_beginnings_are_what_the_embedded_dataset_would_say(level: int) -> None:
    expected = tuple(describe(STEPS[:count]) for count in range(1, level + 1))
    assert beginnings(expected[-1]) == expected


def test_a_part_of_a_video_keeps_its_opening() -> None:
    found = beginnings(describe_part(STEPS[:3]))
    assert found[0] == f"A video in which we {STEPS[0].text}"
    assert found[1:] == (describe_part(STEPS[:2]), describe_part(STEPS[:3]))


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (
            "First, we open it, then we heat it, and finally, we close it",
            ("We open it", "First, we open it, and then we heat it"),
        ),
        (
            "A video in Minecraft where player first mines, then again mines, and then fights",
            (
                "A video in Minecraft where player mines",
                "A video in Minecraft where player first mines, and then again mines",
            ),
        ),
        ("We put the apple in the microwave for a while, then we pick up the apple back again", ()),
        ("We open the first box", ()),
    ],
)
def test_other_wordings(description: str, expected: tuple[str, ...]) -> None:
    assert beginnings(description) == (*expected, description)


def test_every_official_description_of_a_level_has_as_many_beginnings(official: Path) -> None:
    with next(official.rglob("metadata.csv")).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["level"]) > 1]
    wrong = {row["description"] for row in rows if len(beginnings(row["description"])) != int(row["level"])}
    assert rows
    assert not wrong

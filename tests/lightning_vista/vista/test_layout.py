import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from tiny_data import tiny_problem_sets

from lightning_vista.vista import ProblemSet, ProblemSetError, read_problem_sets, write_problem_sets
from lightning_vista.vista.layout import ProblemSets, metadata_csv, metadata_rows
from lightning_vista.vista.problem_sets import kind_of, level_of


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_official_archive_has_its_published_counts(official: Path) -> None:
    problem_sets = read_problem_sets(official / "tasks")
    videos = problem_sets.memberships()
    assert (len(problem_sets), len(videos)) == (492, 4340)
    assert Counter(item.environment for item in problem_sets) == {"alfred": 360, "real_life": 121, "minecraft": 11}
    assert Counter(name.split("/")[0] for name in videos) == {"alfred": 3155, "real_life": 1132, "minecraft": 53}
    assert sum(len(sets) == 2 for sets in videos.values()) == 154
    assert {item.level for item in problem_sets} == set(range(1, 9))


def test_the_official_metadata_is_reproduced_row_for_row(official: Path) -> None:
    rows = metadata_rows(read_problem_sets(official / "tasks"))
    with (official / "metadata.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    assert len(rows) == 4515
    assert Counter(tuple(row.items()) for row in rows) == Counter(tuple(row.items()) for row in expected)


def test_other_files_are_listed_with_the_reason(official: Path) -> None:
    reasons = Counter(skipped.reason.split(":")[0] for skipped in read_problem_sets(official / "tasks").skipped)
    assert reasons == {"a template": 12, "neither <name>.yaml nor <name>_data.json": 9}


def test_the_official_layout_is_written_back_unchanged(official: Path, tmp_path: Path) -> None:
    problem_sets = read_problem_sets(official / "tasks")
    write_problem_sets(problem_sets, tmp_path / "a")
    again = read_problem_sets(tmp_path / "a" / "tasks")
    assert list(again) == list(problem_sets)
    write_problem_sets(reversed(list(again)), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_problem_sets_come_back_as_they_were_written(tmp_path: Path) -> None:
    problem_sets = sorted(tiny_problem_sets(), key=lambda item: item.id)
    write_problem_sets(problem_sets, tmp_path)
    assert list(read_problem_sets(tmp_path / "tasks")) == problem_sets
    assert (tmp_path / "metadata.csv").read_text(encoding="utf-8") == metadata_csv(problem_sets)


def test_two_problem_sets_of_one_id_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different ids.*toy/foundation/objects/shapes"):
        write_problem_sets([tiny_problem_sets()[0]] * 2, tmp_path)


GOOD = "label_prompts:\n  a: We see a\n  b: We see b\n"
DATA = [{"path": "0.mp4", "label": "a"}]


def write_pair(root: Path, yaml: str = GOOD, data: object = DATA, name: str = "toy/level_2/remix/one") -> None:
    path = root / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml, encoding="utf-8")
    path.with_name(f"{path.stem}_data.json").write_text(
        data if isinstance(data, str) else json.dumps(data), encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("yaml", "data", "message"),
    [
        ("label_prompts: [a, b]\n", DATA, r"one.yaml: `label_prompts`: expected a mapping"),
        ("prompt_gpt: hi\n", DATA, r"one.yaml: `label_prompts`: expected a mapping .* got nothing"),
        ("label_prompts: {a: We see a\n", DATA, r"one.yaml cannot be read"),
        ("- a\n", DATA, "expected a mapping with `label_prompts`, got list"),
        ("label_prompts: {yes: We see a}\n", DATA, r"expected ids .*, got True\. Quote or rename it"),
        ("label_prompts: {a: We see a, a: We see b}\n", DATA, r"more than once: a"),
        ("label_prompts: {a: 3}\n", DATA, r"`label_prompts.a`: expected a description, got 3"),
        ('label_prompts: {"a,b": We see a}\n', DATA, r"without commas"),
        (GOOD + "prompt_gpt: [x]\n", DATA, r"`prompt_gpt`: expected text, got list"),
        (GOOD, "[", r"one_data.json cannot be read"),
        (GOOD, [], r"one_data.json: expected a list"),
        (GOOD, {"path": "0.mp4"}, r"one_data.json: expected a list"),
        (GOOD, [{"path": "0.mp4"}], r"entry 0: expected text for `path` and `label`"),
        (
            GOOD,
            [{"path": "0.mp4", "label": "c"}],
            r"entry 0 `label`: expected labels of `label_prompts` \(a, b\), got 'c'",
        ),
        (GOOD, [{"path": "0.mp4", "label": "a,a"}], r"expected each label once, got 'a,a'"),
        (GOOD, [*DATA, *DATA], r"entry 1 `path`: '0.mp4' is listed twice"),
        (GOOD, [*DATA, {"path": "./0.mp4", "label": "b"}], r"without empty parts and dots, '0.mp4', got './0.mp4'"),
        (GOOD, [*DATA, {"path": "./0.mp4", "label": "b"}], r"entry 1 `path`: '0.mp4' is listed twice"),
        (GOOD, [{"path": "x//0.mp4", "label": "a"}], r"entry 0 `path`: expected .*'x/0.mp4', got 'x//0.mp4'"),
        (GOOD, [{"path": "x/./0.mp4", "label": "a"}], r"entry 0 `path`: expected .*'x/0.mp4', got 'x/./0.mp4'"),
        (
            GOOD,
            '[{"path": "0.mp4", "label": "a", "label": "b"}]',
            r"one_data.json cannot be read: .*more than once: label",
        ),
        (GOOD, "[" * 100_000, r"one_data.json cannot be read"),
        (GOOD + "  c: We  see a\n", DATA, r"expected different descriptions, got 'We see a' for a, c"),
        (GOOD + "prompt_gpt: x\nprompt_gpt: y\n", DATA, r"one.yaml cannot be read: .*more than once: prompt_gpt"),
        (GOOD + "metadata: {kind: tracking, kind: actions}\n", DATA, r"more than once: kind"),
        (GOOD, [{"path": "../0.mp4", "label": "a"}], r"expected a relative path inside .*, got '../0.mp4'"),
        (GOOD, [{"path": "/etc/0.mp4", "label": "a"}], r"expected a relative path inside .*, got '/etc/0.mp4'"),
    ],
)
def test_a_broken_problem_set_names_file_key_and_remedy(tmp_path: Path, yaml: str, data: object, message: str) -> None:
    write_pair(tmp_path, yaml, data)
    with pytest.raises(ProblemSetError, match=message):
        read_problem_sets(tmp_path)


def test_all_faults_of_a_tree_come_at_once(tmp_path: Path) -> None:
    write_pair(tmp_path, name="toy/level_x/remix/one")
    write_pair(tmp_path, name="toy/level_2/juggling/two")
    write_pair(tmp_path, "label_prompts: {}\n", [{"path": "..", "label": ""}], name="toy/level_2/remix/three")
    write_pair(tmp_path, name="four")
    (tmp_path / "five_data.json").write_text("[]")
    with pytest.raises(ProblemSetError) as caught:
        read_problem_sets(tmp_path)
    files_at_fault = {error.split(":")[0] for error in caught.value.errors}
    assert files_at_fault == {
        "toy/level_x/remix/one.yaml",
        "toy/level_2/juggling/two.yaml",
        "toy/level_2/remix/three.yaml",
        "toy/level_2/remix/three_data.json",
        "four.yaml",
        "five_data.json",
    }


def test_files_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    write_pair(tmp_path)
    (tmp_path / "toy/level_2/remix/one.yaml").write_bytes(b"label_prompts: {a: caf\xe9}")
    with pytest.raises(ProblemSetError, match="one.yaml cannot be read"):
        read_problem_sets(tmp_path)


def test_an_empty_or_absent_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`tasks`"):
        read_problem_sets(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"holds 1 file\(s\) but no <name>.yaml"):
        read_problem_sets(tmp_path)


def test_a_folder_of_your_own_needs_a_kind(tmp_path: Path) -> None:
    write_pair(tmp_path, GOOD + "metadata: {kind: tracking}\n", name="toy/level_2/juggling/two")
    assert read_problem_sets(tmp_path)[0].kind == "tracking"
    with pytest.raises(ValueError, match="expected one of 'objects'"):
        kind_of("juggling", {"kind": "fun"})


@pytest.mark.parametrize("folder", ["level_0", "level_", "level_2x", "Foundation"])
def test_level_folders_match_exactly(folder: str) -> None:
    with pytest.raises(ValueError, match="level folder"):
        level_of(folder)


@pytest.mark.parametrize("folder", ["object_", "permutations", "remix2"])
def test_type_folders_match_exactly(folder: str) -> None:
    with pytest.raises(ValueError, match="type folder"):
        kind_of(folder)


def test_a_byte_order_mark_is_not_a_fault(tmp_path: Path) -> None:
    write_pair(tmp_path)
    path = tmp_path / "toy/level_2/remix/one_data.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_problem_sets(tmp_path)) == 1


@pytest.mark.parametrize("target", ["../other", "toy", "."])
def test_a_linked_folder_is_not_silently_left_out(tmp_path: Path, target: str) -> None:
    write_pair(tmp_path / "tasks")
    write_pair(tmp_path / "other")
    (tmp_path / "tasks/linked").symlink_to(target)
    with pytest.raises(ProblemSetError, match="linked: expected a folder or a file, got a link to a folder. Copy"):
        read_problem_sets(tmp_path / "tasks")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["one.yaml", "one_data.json"])
def test_only_regular_files_inside_the_folder_are_read(tmp_path: Path, name: str) -> None:
    tasks = tmp_path / "tasks"
    write_pair(tasks)
    path = tasks / "toy/level_2/remix" / name
    inside = path.rename(tasks / "toy/inside.txt")
    path.symlink_to("../../inside.txt")
    assert len(read_problem_sets(tasks)) == 1
    outside = inside.rename(tmp_path / "outside.txt")
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(ProblemSetError, match=f"{name} cannot be read: a link that leaves the folder"):
        read_problem_sets(tasks)
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(ProblemSetError, match=f"{name} cannot be read: .*No such file"):
        read_problem_sets(tasks)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ProblemSetError, match=f"{name} cannot be read: .*expected a regular file"):
        read_problem_sets(tasks)


def test_an_id_with_brackets_names_itself(tmp_path: Path) -> None:
    """Beside patterns, in which brackets mean one of several characters."""
    names = ("a [1]", "a 1", "a", "[!b]", "b?")
    sets = ProblemSets(ProblemSet(f"toy/level_2/remix/{name}", {}, ()) for name in names)
    chosen = {
        name: [item.id.rpartition("/")[2] for item in sets.matching([f"toy/level_2/remix/{name}"])] for name in names
    }
    assert chosen == {"a [1]": ["a 1", "a [1]"], "a 1": ["a 1"], "a": ["a"], "[!b]": ["[!b]", "a"], "b?": ["b?"]}
    with pytest.raises(ValueError, match=r"No problem set matches 'toy/level_2/remix/b \[1\]'"):
        sets.matching(["toy/level_2/remix/b [1]"])

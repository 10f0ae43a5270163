import pytest

from lightning_vista.mini.steps import Step, events, in_order, pauses

A, B = (Step("go to {thing}", thing) for thing in ("a", "b"))
TAKE = Step("take {thing}", "a")


def test_a_change_ends_a_walk_and_a_stop_counts_once() -> None:
    scenes = [0, 1, 1, 1, 1, 2, 3, 3, 3]  # a walk, a stop, a walk that ends in a change, a rest
    assert pauses(scenes) == [3, 4, 8]
    stops = dict.fromkeys(pauses(scenes), A)
    assert events(scenes, {}, stops) == (A, A)
    assert events(scenes, {6: TAKE}, stops) == (A, TAKE)


def test_waiting_in_front_of_what_one_then_changes_is_no_stop() -> None:
    scenes = [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]  # a walk, a wait, a change, a rest, a walk, a stop
    stops = dict.fromkeys(pauses(scenes), A)
    assert events(scenes, {4: TAKE}, stops) == (TAKE, A)
    assert events(scenes, {5: TAKE}, stops) == (A, TAKE, A)  # after a move it is another matter


@pytest.mark.parametrize(("steps", "found"), [([A, B], True), ([B, A], False), ([A, A, B], True), ([TAKE], False)])
def test_steps_are_found_in_their_order(steps: list[Step], found: bool) -> None:
    assert in_order(steps, 6, lambda step, frame: frame == {A: 2, B: 5}.get(step)) == found

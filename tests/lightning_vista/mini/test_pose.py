from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_vista.mini.pose import shortest_path

EDGES = st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=25)


@given(EDGES)
def test_paths_are_as_short_as_powers_of_the_adjacency_matrix_say(edges: set[tuple[int, int]]) -> None:
    def moves(state: int) -> Iterator[tuple[tuple[int, int], int]]:
        return (((before, after), after) for before, after in sorted(edges) if before == state)

    adjacent = np.zeros((8, 8), dtype=int)
    for edge in edges:
        adjacent[edge] = 1
    lengths = [length for length in range(8) if np.linalg.matrix_power(adjacent, length)[0, 7]]
    path = shortest_path(0, lambda state: state == 7, moves)
    assert (None if path is None else len(path)) == (lengths[0] if lengths else None)
    if path is not None:
        assert [0, *(after for _, after in path)] == [*(before for before, _ in path), 7]


def test_a_goal_at_the_start_needs_no_action() -> None:
    assert shortest_path("here", lambda state: state == "here", lambda state: pytest.fail("looked further")) == []

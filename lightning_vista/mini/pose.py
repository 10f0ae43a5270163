"""Cells and poses, and the search for shortest paths."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

Cell = tuple[int, int]


class Pose(NamedTuple):
    """Cell with a direction: 0 right, 1 down, 2 left, 3 up, as in MiniGrid."""

    x: int
    y: int
    direction: int

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.x, self.y

    @property
    def ahead(self) -> Cell:
        """The cell in front.

        Example:
            >>> Pose(3, 3, direction=1).ahead
            (3, 4)
        """
        return self.x + (1, 0, -1, 0)[self.direction], self.y + (0, 1, 0, -1)[self.direction]


State = TypeVar("State", bound=Hashable)
Action = TypeVar("Action")


def shortest_path(
    start: State,
    is_goal: Callable[[State], bool],
    moves: Callable[[State], Iterable[tuple[Action, State]]],
) -> list[Action] | None:
    """Find the fewest actions from a state to a goal by breadth-first search, with deterministic ties.

    Args:
        start: State in which the search begins.
        is_goal: Function that tells whether a state is a goal.
        moves: Function that returns the possible actions in a state, each with the next state.

    Returns:
        The actions, an empty list if `start` is a goal; None if no goal can be reached.

    Example:
        >>> shortest_path(1, lambda n: n == 10, lambda n: [("double", 2 * n), ("add one", n + 1)] if n < 10 else [])
        ['double', 'double', 'add one', 'double']
    """
    came_from: dict[State, tuple[State, Action] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if is_goal(state):
            path: list[Action] = []
            while (step := came_from[state]) is not None:
                state, action = step
                path.append(action)
            return path[::-1]
        for action, successor in moves(state):
            if successor not in came_from:
                came_from[successor] = (state, action)
                queue.append(successor)
    return None

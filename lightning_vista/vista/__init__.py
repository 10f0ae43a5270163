"""The ViSTa benchmark: problem sets, the official layout, shards and score tables."""

from lightning_vista.vista.layout import ProblemSetError, ProblemSets, read_problem_sets, write_problem_sets
from lightning_vista.vista.problem_sets import KINDS, LabelledVideo, ProblemSet

__all__ = [
    "KINDS",
    "LabelledVideo",
    "ProblemSet",
    "ProblemSetError",
    "ProblemSets",
    "read_problem_sets",
    "write_problem_sets",
]

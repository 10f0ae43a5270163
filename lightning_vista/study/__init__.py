"""Studies: several runs, each an ordinary `fit` and `test`, summarized in one table, figures and a page."""

from lightning_vista.study.runs import Run, expand_study
from lightning_vista.study.spec import ComputeRatioSpec, FigureSpec, LeakageSpec, Study, StudyError, Variant, read_study

__all__ = [
    "ComputeRatioSpec",
    "FigureSpec",
    "LeakageSpec",
    "Run",
    "Study",
    "StudyError",
    "Variant",
    "expand_study",
    "read_study",
]

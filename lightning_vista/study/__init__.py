"""Several runs in turn, each an ordinary `fit` and `test`, then one table, figures and a page."""

from lightning_vista.study.layers import StudyError
from lightning_vista.study.runs import Run, expand
from lightning_vista.study.spec import FigureSpec, Study, Variant, read_study

__all__ = ["FigureSpec", "Run", "Study", "StudyError", "Variant", "expand", "read_study"]

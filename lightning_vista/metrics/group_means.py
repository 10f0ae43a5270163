"""Means of figures over the images of each group of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class GroupMeans(Metric):
    """The means of several per-image figures over the images of each group of classes.

    Args:
        figures: Names of the figures, in the order of the rows that `update` takes.
        groups: Group -> its classes; groups may overlap, so a single class may be a group as well.
        **kwargs: Further arguments of `torchmetrics.Metric`.

    Example:
        >>> metric = GroupMeans(["loss"], {"low": [0, 1], "class_1": [1]})
        >>> metric.update(torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([0, 1, 2]))
        >>> metric.compute()
        {'loss/low': tensor(2., dtype=torch.float64), 'loss/class_1': tensor(3., dtype=torch.float64)}
    """

    is_differentiable = False
    full_state_update = False

    sums: Tensor
    counts: Tensor

    def __init__(
        self,
        figures: Sequence[str],
        groups: Mapping[str, Sequence[int]],
        **kwargs: Any,  # passed on
    ) -> None:
        super().__init__(**kwargs)
        self.figures, self.groups = tuple(figures), {name: list(classes) for name, classes in groups.items()}
        self.add_state("sums", torch.zeros(len(self.figures), len(groups), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(len(groups), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor, labels: Tensor) -> None:
        """Add images.

        Args:
            values: Value of each figure for each image `(figures, batch)`, float.
            labels: Class of each image `(batch,)`, integer.
        """
        members = [torch.isin(labels, labels.new_tensor(classes)) for classes in self.groups.values()]
        membership = torch.stack(members, dim=1).to(self.sums)
        self.sums += values.to(self.sums) @ membership
        self.counts += membership.sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        """Return the mean of each figure over each group, `{"<figure>/<group>": scalar}`; NaN without images."""
        means = self.sums / self.counts
        return {
            f"{figure}/{group}": means[row, column]
            for row, figure in enumerate(self.figures)
            for column, group in enumerate(self.groups)
        }

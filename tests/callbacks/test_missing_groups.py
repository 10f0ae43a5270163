"""Groups that are not in the data leave it unrouted, so that is said after the first epoch."""

import logging
from typing import Any

import lightning as L
import pytest
import torch
from routed_run import Regression, make_trainer
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting
from lightning_vista.routing import FieldRule, LabelRule, MixtureRule, PartialLabels, Route, Rule

WARNING = "Routing: the first epoch had no data of these groups."


class Silent(Regression):
    """Logs nothing, since Lightning cannot tell the size of batches with text."""

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log(self, *args: Any, **kwargs: Any) -> None:
        pass


def batches(labels: list[Any]) -> DataLoader[Any]:
    torch.manual_seed(0)
    values: Any = torch.tensor(labels) if not isinstance(labels[0], str) else labels
    rows: Any = [{"x": torch.randn(len(labels), 3), "label": values, "known": torch.ones(len(labels))}] * 3
    return DataLoader(rows, batch_size=None)


def fit(rule: Rule, labels: list[Any], **options: Any) -> L.Trainer:
    route = Route("encoder.1", rule, {"low": "0:3", "high": "rest"}, weights={rule.groups[0]: {"low": 1.0}})
    trainer = make_trainer(GradientRouting([route]), **options)
    trainer.fit(Silent(), batches(labels), batches(labels))
    return trainer


@pytest.mark.parametrize(
    ("rule", "labels", "sentence"),
    [
        (LabelRule("label", {"low": [10]}), [0, 1, 4], "'low' never occurred. Values of 'label' were 0, 1, 4."),
        (LabelRule("label", {"low": [0]}), ["0", "1"], "'low' never occurred. Values of 'label' were '0', '1'."),
        (LabelRule("label", {"low": [9]}), list(range(7)), "Values of 'label' were 0, 1, 2, 3, 4, ..."),
        (PartialLabels(LabelRule("label", {"low": [9]}), "known"), [0, 1], "Values of 'label' were 0, 1."),
        (MixtureRule([LabelRule("label", {"low": [9]})]), [0, 1], "Values of 'label' were 0, 1."),
    ],
)
def test_a_group_that_never_occurs_is_named(
    rule: Rule, labels: list[Any], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        fit(rule, labels, max_epochs=2)
    assert caplog.text.count(WARNING) == 1
    assert f"- route 0 (encoder.1): {sentence}" in caplog.text or sentence in caplog.text


def test_rules_without_values_are_named_without_them(caplog: pytest.LogCaptureFixture) -> None:
    class Nothing(FieldRule):
        def memberships(self, batch: Any) -> torch.Tensor:
            return torch.zeros(len(batch["x"]), 2)

    fit(Nothing("label", ["low", "high"]), [0, 1])
    assert "'low' never occurred.\n" in caplog.text
    assert "'high' never occurred.\n" in caplog.text


def test_groups_that_occur_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    fit(LabelRule("label", {"low": [0], "high": [1]}), [0, 1, 1])
    fit(LabelRule("label", {"low": [10]}), [0, 1], fast_dev_run=True)  # one batch says nothing
    assert WARNING not in caplog.text

"""One language of patterns for modules and parameters."""

import re

import pytest
import torch
from torch import nn

from lightning_vista.routing.naming import find_modules, find_parameters


def network() -> nn.Module:
    return nn.ModuleDict({"blocks": nn.ModuleList([nn.Sequential(nn.Linear(2, 2)) for _ in range(3)])})


def test_a_star_is_one_part_between_dots() -> None:
    assert list(find_modules(network(), ["blocks.*"])) == ["blocks.0", "blocks.1", "blocks.2"]
    assert list(find_parameters(network(), ["blocks.[0-1].0.weight"])) == ["blocks.0.0.weight", "blocks.1.0.weight"]
    for find, kind in ((find_modules, "module"), (find_parameters, "parameter")):
        with pytest.raises(
            ValueError, match=rf"expected a {kind} of ModuleDict, got '\*\.nothing'\. Did you mean one of"
        ):
            find(network(), ["*.nothing"])
    with pytest.raises(ValueError, match=r"got 'blocks\.\*\.weight'.*'blocks.2.0.weight'"):
        find_parameters(network(), ["blocks.*.weight"])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a.new.b.weight", "a.new.weight", "a.old.weight", "new.weight", "weight"]),
        ("*.new.*", ["a.new.b.weight", "a.new.weight"]),
        ("new.*", ["new.weight"]),
        ("a.*", ["a.new.b.weight", "a.new.weight", "a.old.weight"]),
        ("*.weight", ["a.new.b.weight", "a.new.weight", "a.old.weight", "new.weight"]),
        ("a.*.weight", ["a.new.weight", "a.old.weight"]),
        ("*.n?w.weight", ["a.new.weight"]),
    ],
)
def test_a_star_at_either_end_of_a_parameters_name_is_any_number_of_parts(pattern: str, found: list[str]) -> None:
    def leaf() -> nn.Module:
        module = nn.Module()
        module.weight = nn.Parameter(torch.zeros(1))
        return module

    model, inner, new = leaf(), nn.Module(), leaf()
    new.b = leaf()
    inner.new, inner.old = new, leaf()
    model.a, model.new = inner, leaf()
    assert sorted(find_parameters(model, [pattern])) == found


@pytest.mark.parametrize(
    ("pattern", "suggested"),
    [
        ("blocks.*.0", "model.blocks.*.0"),  # as in the model's own documentation
        ("module.model.blocks.*.0", "model.blocks.*.0"),
        ("model.block.*.0", "model.blocks.2.0"),
    ],
)
def test_an_error_suggests_the_whole_pattern_where_only_its_beginning_is_wrong(pattern: str, suggested: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"Did you mean one of ['{suggested}'")):
        find_modules(nn.ModuleDict({"model": network()}), [pattern])


def test_wrappers_add_nothing_to_names() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0] = torch.compile(model[0], backend="eager")  # type: ignore[assignment]
    assert list(find_parameters(model, ["0.weight"])) == ["0.weight"]


def test_a_tied_parameter_is_found_once_by_any_name() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert list(find_parameters(model, ["*.weight"])) == ["0.weight"]
    assert list(find_parameters(model, ["1.weight"])) == ["1.weight"]


def test_a_module_with_several_names_is_found_once_by_any_of_them() -> None:
    layer = nn.Linear(1, 1)
    model = nn.ModuleDict({"encoder": layer, "layers": nn.ModuleList([layer, layer, nn.Linear(1, 1)])})
    found = {"encoder": ["encoder"], "layers.1": ["layers.1"], "layers.*": ["layers.0", "layers.2"]}
    for pattern, names in found.items():
        assert list(find_modules(model, [pattern])) == names
    assert list(find_modules(model, ["layers.1", "encoder"])) == ["encoder"]

"""Descriptions of routes as text, with which a resumed run is compared."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor

from lightning_vista.routing.parameter_route import ParameterRoute
from lightning_vista.routing.route import Route
from lightning_vista.routing.rules.rule import Rule


def describe_routes(routes: Sequence[Route | ParameterRoute]) -> dict[str, str]:
    """Describe all settings of routes.

    Args:
        routes: The routes, whose rules are as written: `setup` turns words into tokens.

    Returns:
        Name such as "route 0 regions" -> the setting as text.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> rule = LabelRule("label", {"low": [0]})
        >>> described = describe_routes([Route("encoder", rule, {"low": "0:2", "x": "rest"})])
        >>> described["route 0 regions"], described["route 0 rule"]
        ("{'low': '0:2', 'x': 'rest'}", "LabelRule(groups=('low',), field='label', labels={'low': [0]})")
    """
    return {
        f"route {number} {field.name}": _text(getattr(route, field.name))
        for number, route in enumerate(routes)
        for field in fields(route)
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare the settings of a checkpoint with those of a run.

    Args:
        before: The checkpoint's settings.
        now: The run's settings.

    Returns:
        Name -> the value before, or None, and the value now, or None. Names that a checkpoint does not know, because it
        was written by an older version, are left out.

    Example:
        >>> differences({"strategy": "gradient"}, {"strategy": "parameter", "isolate_optimizer": True})
        {'strategy': ('gradient', 'parameter')}
    """
    # A further route is a difference, unless the checkpoint describes no routes at all.
    describes_routes = any(name.startswith("route ") for name in before)
    names = [*before, *(name for name in now if name not in before and name.startswith("route ") and describes_routes)]
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _text(value: Any) -> str:
    """Return a value as text, without what a rule computes from data."""
    if isinstance(value, Rule):
        settings = {key: item for key, item in vars(value).items() if not key.startswith("_")}
        kept = (
            f"{key}={_text(item)}"
            for key, item in settings.items()
            if not isinstance(item, Tensor) and item is not None
        )
        return f"{type(value).__name__}({', '.join(kept)})"
    if isinstance(value, list) and any(isinstance(item, Rule) for item in value):
        return f"[{', '.join(map(_text, value))}]"
    # Objects without a description of their own show their address, which differs in each process.
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))

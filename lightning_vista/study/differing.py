"""Settings in which the runs of a study differ."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from lightning_vista.study import Run
from lightning_vista.study.overrides import callback_class, key_labels

#: Letters of a setting that are shown.
_LETTERS = 90
#: Settings of the whole configuration that say nothing about a run.
_PLACES = ("seed_everything", "trainer.default_root_dir")


def differing_settings(runs: Sequence[Run], baseline: str = "") -> dict[str, dict[str, str]]:
    """Compare the configuration of each variant with that of the baseline.

    Args:
        runs: Runs of the study.
        baseline: Name of the variant to compare with; that of the first run by default.

    Returns:
        Variant -> label of a setting -> its value there, or "absent". The baseline has those of its own values that
        another variant changes. Keys of the grid are left out, since they are in the names of rows.

    Example:
        >>> from lightning_vista.study import Study, Variant, expand_study
        >>> variants = [Variant("routed"), Variant("plain", overrides={"model.weight": 0})]
        >>> study = Study("t", variants, {}, overrides={"model.weight": 1, "model.size": 8})
        >>> differing_settings(expand_study(study, "out"))
        {'routed': {'weight': '1'}, 'plain': {'weight': '0'}}
    """
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.variant, run)
    hidden = {key for run in first.values() for key in run.point} | set(_PLACES)
    flat = {
        name: {key: value for key, value in _flatten(run.config, "") if key not in hidden}
        for name, run in first.items()
    }
    compared = baseline if baseline in flat else next(iter(flat))
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    keys = [key for key in keys if len({repr(settings.get(key)) for settings in flat.values()}) > 1]
    short = {key: key.replace(".init_args.", ".") for key in keys}
    labels = key_labels(list(short.values()))
    return {
        name: {
            labels[short[key]]: _shown(settings.get(key, "absent"))
            for key in keys
            if (key in settings if name == compared else repr(settings.get(key)) != repr(flat[compared].get(key)))
        }
        for name, settings in flat.items()
    }


def _flatten(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values; a callback's key has its class, as in overrides."""
    is_callbacks = key == "trainer.callbacks"
    if is_callbacks:
        key, node = "callbacks", _by_class(node or [])
    if isinstance(node, dict) and (node or is_callbacks):
        for name, value in node.items():
            yield from _flatten(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _by_class(callbacks: Sequence[Any]) -> dict[str, Any]:
    """Return the options of callbacks by class; a second one of a class has a number, as in overrides."""
    found: dict[str, Any] = {}
    for callback in callbacks:
        name = callback_class(callback)
        number = sum(other.partition("#")[0] == name for other in found) + 1
        options = callback.get("init_args") if isinstance(callback, dict) else None
        found[name if number == 1 else f"{name}#{number}"] = options or "with its defaults"
    return found


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=10**6)
    text = " ".join(text.removesuffix("...\n").split())
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"

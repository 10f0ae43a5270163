"""The token that a position of a language model predicts, which decides on the position's group."""

from collections.abc import Iterable, Iterator
from typing import Literal

from lightning_vista.routing.rules.rule import Rule

#: Causal language models predict the next token at each position, masked ones that of the position itself.
Target = Literal["next", "same"]


def check_targets(rules: Iterable[Rule], target: Target) -> None:
    """Refuse rules of tokens that take another token for the one that a position predicts.

    Args:
        rules: The rules of routes, with any rules within them.
        target: The token that the model predicts.

    Raises:
        ValueError: If a rule's `target` is another one.
    """
    wrong = [rule for outer in rules for rule in rules_within(outer) if getattr(rule, "target", target) != target]
    if wrong:
        raise ValueError(
            f"`target`: expected {target!r} for all rules of tokens, since the model predicts "
            f"{'the next token' if target == 'next' else 'the masked token itself'} at each position, got "
            f"{sorted({type(rule).__name__ for rule in wrong})} without it. Set `target: {target}` of these rules."
        )


def rules_within(rule: Rule) -> Iterator[Rule]:
    """Yield a rule and all rules whose memberships it uses.

    Args:
        rule: The rule.

    Yields:
        The rule first, then those within it, in a fixed order.
    """
    yield rule
    for part in rule.parts:
        yield from rules_within(part)

"""A module that stands in for vLLM, which is not installed where the tests run: its documented signatures, no model."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from chat_server import say_scores


@dataclass
class SamplingParams:
    """The settings of a reply, by vLLM's names."""

    temperature: float = 1.0
    max_tokens: int | None = 16
    seed: int | None = None


@dataclass
class CompletionOutput:
    """A reply."""

    text: str
    finish_reason: str | None = "stop"


@dataclass
class RequestOutput:
    """The replies to a request."""

    outputs: list[CompletionOutput]


class LLM:
    """An engine that notes what it is asked; `say` is the model."""

    say: Callable[[dict[str, Any]], str] = staticmethod(say_scores)

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        seed: int = 0,
        max_model_len: int | None = None,
        limit_mm_per_prompt: dict[str, int] | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.arguments = {"model": model, "dtype": dtype, "seed": seed, "max_model_len": max_model_len}
        self.arguments |= {"limit_mm_per_prompt": limit_mm_per_prompt}
        self.asked: list[tuple[list[dict[str, Any]], SamplingParams]] = []
        self.calls = 0
        VLLM.engines.append(self)

    def chat(
        self,
        messages: Sequence[list[dict[str, Any]]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """Answer conversations in their order."""
        assert isinstance(sampling_params, Sequence)
        self.calls += 1
        self.asked += zip(messages, sampling_params, strict=True)
        replies = [type(self).say({"messages": each}) for each in messages]
        return [
            RequestOutput([CompletionOutput(text.removesuffix("<cut>"), "length" if "<cut>" in text else "stop")])
            for text in replies
        ]


class VLLM(ModuleType):
    """The module."""

    __version__ = "0.0"
    engines: list[LLM] = []  # noqa: RUF012 # emptied by `stand_in`
    LLM = LLM
    SamplingParams = SamplingParams


def stand_in(monkeypatch: pytest.MonkeyPatch) -> VLLM:
    """Put the module in vLLM's place during a test."""
    module = VLLM("vllm")
    module.engines.clear()
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module

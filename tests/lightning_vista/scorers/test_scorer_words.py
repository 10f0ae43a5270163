"""A word that an option of this room does not know is an error, never the default."""

from collections.abc import Callable
from typing import Any

import pytest

from lightning_vista.scorers import (
    ChatScorer,
    CLIPScorer,
    DualEncoderScorer,
    LikelihoodScorer,
    LocalChatScorer,
    OpenCLIPScorer,
    QwenEmbeddingScorer,
    QwenRerankerScorer,
    S3DScorer,
    ViCLIPScorer,
    VLLMChatScorer,
    XCLIPScorer,
)
from lightning_vista.scorers.chat.budget import image_tokens, plan
from lightning_vista.scorers.chat.chat_model import ChatModel, Message, Reply
from lightning_vista.scorers.chat.conversation import converse
from lightning_vista.scorers.chat.parsing import UnreadableReply
from lightning_vista.scorers.chat.questions import start_conversation
from lightning_vista.vista.batch import Candidates

CANDIDATES = Candidates("toy/level_1/objects/a", ("ball",), ("We see a ball",))
Call = Callable[[Any], object]
#: An option and whoever takes it -> a call with a word that it does not know. No checkpoint is opened before the error.
WRONG: dict[str, Call] = {
    "dtype CLIPScorer": lambda word: CLIPScorer("nowhere", dtype=word),
    "preprocessing CLIPScorer": lambda word: CLIPScorer("nowhere", preprocessing=word),
    "dtype OpenCLIPScorer": lambda word: OpenCLIPScorer("nowhere", dtype=word),
    "preprocessing OpenCLIPScorer": lambda word: OpenCLIPScorer("nowhere", preprocessing=word),
    "dtype ViCLIPScorer": lambda word: ViCLIPScorer("nowhere", dtype=word),
    "dtype LocalChatScorer": lambda word: LocalChatScorer("nowhere", dtype=word),
    "mode LocalChatScorer": lambda word: LocalChatScorer("nowhere", mode=word),
    "frames_as LocalChatScorer": lambda word: LocalChatScorer("nowhere", frames_as=word),
    "dtype LikelihoodScorer": lambda word: LikelihoodScorer("nowhere", dtype=word),
    "question LikelihoodScorer": lambda word: LikelihoodScorer("nowhere", question=word),
    "frames_as LikelihoodScorer": lambda word: LikelihoodScorer("nowhere", frames_as=word),
    "frames_as ChatScorer": lambda word: ChatScorer("gpt-4o", frames_as=word),
    "mode ChatScorer": lambda word: ChatScorer("gpt-4o", mode=word),
    "detail ChatScorer": lambda word: ChatScorer("gpt-4o", detail=word),
    "provider ChatScorer": lambda word: ChatScorer("gpt-4o", provider=word),
    "mode VLLMChatScorer": lambda word: VLLMChatScorer("nowhere", mode=word),
    "dtype XCLIPScorer": lambda word: XCLIPScorer("nowhere", dtype=word),
    "dtype QwenEmbeddingScorer": lambda word: QwenEmbeddingScorer("nowhere", dtype=word),
    "frames_as QwenEmbeddingScorer": lambda word: QwenEmbeddingScorer("nowhere", frames_as=word),
    "dtype QwenRerankerScorer": lambda word: QwenRerankerScorer("nowhere", dtype=word),
    "frames_as QwenRerankerScorer": lambda word: QwenRerankerScorer("nowhere", frames_as=word),
    "sampling S3DScorer": lambda word: S3DScorer("nowhere", "nowhere", sampling=word),
    "on_failure ChatScorer": lambda word: ChatScorer("gpt-4o", on_failure=word),
    "sampling ChatScorer": lambda word: ChatScorer("gpt-4o", sampling=word),
    "head DualEncoderScorer": lambda word: DualEncoderScorer(word),
    "tower DualEncoderScorer": lambda word: DualEncoderScorer(tower=word, vocabulary=["ball"]),
    "provider ChatModel": lambda word: ChatModel("gpt-4o", provider=word),
    "detail ChatModel": lambda word: ChatModel("gpt-4o", detail=word),
    "detail image_tokens": lambda word: image_tokens(512, 512, word),
    "mode converse": lambda word: converse(word, [b"jpeg"], CANDIDATES),
    "mode start_conversation": lambda word: start_conversation(word, [b"jpeg"], CANDIDATES),
    "mode plan": lambda word: plan(word, 8, 85, []),
    "role Message": lambda word: Message(word, "Hello"),
    "finish Reply": lambda word: Reply("Hello", word),
    "reason UnreadableReply": lambda word: UnreadableReply(word, "it is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_unknown_word_is_an_error(case: str) -> None:
    with pytest.raises(ValueError, match=f"^`{case.split()[0]}`: expected .*, got 'lost_word'"):
        WRONG[case]("lost_word")

"""Stand-ins for language models, so that the examples run anywhere. Put your own in their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    CompletionResponse,
    ImageBlock,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.llms import MockFunctionCallingLLM, MockLLM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.tools import BaseTool

# Of the prompt with which LlamaIndex's query engines ask by default.
_PROMPT = re.compile(r"-{9,}\n(?P<context>.*)\n-{9,}\n.*\nQuery: (?P<question>.*)\nAnswer:", re.DOTALL)


def words(text: str) -> set[str]:
    """Return the words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


class LineReader(MockLLM):
    """Answers a question with that line of its context which shares most words with it."""

    def complete(self, prompt: str, **_: Any) -> CompletionResponse:
        """Answer."""
        context, question = _PROMPT.search(prompt).groups()
        best = max(context.splitlines(), key=lambda line: len(words(line) & words(question)))
        return CompletionResponse(text=best)


def page_agent() -> MockFunctionCallingLLM:
    """Return one that searches once for what it is asked, and then says what it saw."""
    return MockFunctionCallingLLM(response_generator=_reply)


def _reply(messages: Sequence[ChatMessage], *, tools: Sequence[BaseTool], **_: Any) -> ChatMessage:
    """Search, or answer with the page that came first and the number of the images."""
    last = messages[-1]
    if last.role == MessageRole.USER:
        (tool,) = tools
        call = ToolCallBlock(tool_call_id="1", tool_name=tool.metadata.name, tool_kwargs={"query": last.content})
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[call])
    images = [block for block in last.blocks if isinstance(block, ImageBlock)]
    text = next(block.text for block in last.blocks if isinstance(block, TextBlock))
    page = re.search(r"([^/]*, page \d+), score", text)
    return ChatMessage(
        role=MessageRole.ASSISTANT, content=f"The best of {len(images)} pages that I looked at is {page[1]}."
    )

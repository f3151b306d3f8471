"""Stand-ins for chat models, so that the examples run anywhere. Put your own in their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage


def words(text: str) -> set[str]:
    """Return the words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


class LineReader(BaseChatModel):
    """Answers a prompt's last line, the question, with that line before it which shares most words with it."""

    @property
    def _llm_type(self) -> str:
        return "line-reader"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        *lines, question = messages[-1].text.strip().splitlines()
        best = max(lines, key=lambda line: len(words(line) & words(question)))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(best))])


class PageAgent(BaseChatModel):
    """Searches once for what it is asked, and answers with the page that came first and the images that it got."""

    @property
    def _llm_type(self) -> str:
        return "page-agent"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> PageAgent:  # type: ignore[override]
        """Know one tool by its name, as its schema is of no use here."""
        (tool,) = tools
        return self.model_copy(update={"name": tool.name})

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        match messages[-1]:
            case HumanMessage() as asked:
                call = {"name": self.name, "args": {"query": asked.text}, "id": "call-1", "type": "tool_call"}
                answer = AIMessage("", tool_calls=[call])
            case ToolMessage() as found:
                images = [block for block in found.content_blocks if block["type"] == "image"]
                text = next(block["text"] for block in found.content_blocks if block["type"] == "text")
                page = re.search(r"([^/]*, page \d+), score", text)
                answer = AIMessage(f"The best of {len(images)} pages that I looked at is {page[1]}.")
        return ChatResult(generations=[ChatGeneration(message=answer)])

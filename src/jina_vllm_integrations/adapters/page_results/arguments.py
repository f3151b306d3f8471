"""What a language model passes to a tool that searches pages."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, create_model

_QUERY = "What to look for: a question, or a description of the page."
_K = "How many pages to return."


def search_arguments(k: int, max_k: int) -> type[BaseModel]:
    """Return what the model may pass, checked before anything is searched.

    Args:
        k: How many pages, unless the model asks for another number.
        max_k: How many it may ask for.
    """
    return create_model(
        "PageSearch",
        query=(Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], Field(description=_QUERY)),
        k=(int, Field(default=k, ge=1, le=max_k, description=_K)),
    )

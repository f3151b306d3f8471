"""What a token is called in a picture or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.model.prompts import text_prompt
from jina_vllm_integrations.types import Role

if TYPE_CHECKING:
    import numpy.typing as npt
    from tokenizers import Tokenizer

    from jina_vllm_integrations.types import TokenVectors


def token_labels(tokens: TokenVectors, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the characters of each token.

    A token may begin or end within a character: many of Japanese or an emoji's are two or three bytes of one. Its
    label is every character that it has a byte of, so neighbours may share one. A cell of an image is called by its
    row and column, from 0.
    """
    text, ends = _text_and_ends(tokens, tokenizer)
    character_of_byte = np.repeat(np.arange(len(text)), [len(character.encode()) for character in text])
    labels = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        characters = character_of_byte[start:end]
        labels.append(text[characters[0] : characters[-1] + 1])
    for cell, token in enumerate(np.flatnonzero(tokens.image_mask)):
        assert tokens.grid is not None
        labels[token] = "{},{}".format(*divmod(cell, tokens.grid[1]))
    return tuple(labels)


def prompt_tokens(tokens: TokenVectors, tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    """Return which tokens are the prompt's own: a text's prefix, or all around an image. *Shape:* ``(n_tokens,)``."""
    if tokens.grid is not None:
        return ~tokens.image_mask
    text, ends = _text_and_ends(tokens, tokenizer)
    prefixes = (text_prompt("", role=role, task="retrieval") for role in get_args(Role))
    return ends <= len(next(filter(text.startswith, prefixes), ""))


def shown(label: str) -> str:
    """Return a label without the white space around it; what is nothing else, in quotes."""
    return label.strip() or repr(label)


def _text_and_ends(tokens: TokenVectors, tokenizer: Tokenizer) -> tuple[str, npt.NDArray[np.int64]]:
    """Return what the tokens say, and where each ends in it, in bytes of UTF-8. *Shape:* ``(n_tokens,)``."""
    ids = tokens.token_ids.tolist()
    return tokenizer.decode(ids, skip_special_tokens=False), np.cumsum([_n_bytes(id_, tokenizer) for id_ in ids])


def _n_bytes(token_id: int, tokenizer: Tokenizer) -> int:
    token = tokenizer.id_to_token(token_id)
    if token is None:
        raise InputError(
            f"the tokenizer must be that of the query's checkpoint, this one has no token {token_id}. "
            "Pass encoder.engine.checkpoint.tokenizer."
        )
    return len(token)  # a byte-level tokenizer writes each byte as a character of its own alphabet

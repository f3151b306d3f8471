"""From items to the prompts that the model was trained on. The only home of prefixes and special tokens."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

from PIL import Image

from jina_vllm_integrations import images
from jina_vllm_integrations.errors import (
    CheckpointError,
    EmptyTextError,
    ImageSizeError,
    InputError,
    ItemTypeError,
    TextTooLongError,
)
from jina_vllm_integrations.types import (
    EmptyText,
    ImageInput,
    ImagePrompt,
    Item,
    Prompt,
    Role,
    Task,
    TextImageQuery,
    TextInput,
    TextPrompt,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from jina_vllm_integrations.model.checkpoints import Checkpoint

# jina-embeddings-v4, modeling_jina_embeddings_v4.py: no system turn, no prefix, literal to the character.
IMAGE_PROMPT = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"
_SPECIAL_TOKEN = re.compile(r"(<\|\w+\|>)")

logger = logging.getLogger(__name__)


def text_prompt(text: str, *, role: Role, task: Task) -> str:
    """Put the prefix of a role and task before a text.

    Text matching compares like with like, so both of its roles take the query's prefix.
    """
    prefix = "Query" if role == "query" or task == "text-matching" else "Passage"
    return f"{prefix}: {text}"


def check_image_length(grid: tuple[int, int], prompt: ImagePrompt, max_tokens: int) -> None:
    """Raise `ImageSizeError` if an image's prompt is longer than the engine takes."""
    rows, columns = grid
    n_tokens = len(prompt.token_ids) - 1 + rows * columns  # the placeholder becomes one token a cell
    if n_tokens > max_tokens:
        raise ImageSizeError(
            f"an image may have {max_tokens} tokens with its prompt, this one has {n_tokens}. Raise the engine's "
            "max_model_len, or lower its mm_processor_kwargs={'max_pixels': ...}."
        )


class PromptBuilder:
    """Checks items and turns them into prompts, all before any work is sent to an engine.

    Args:
        checkpoint: Whose tokenizer and limits apply.
        task: Decides the prefix, together with each call's role.
        max_tokens: The longest prompt that the engine takes.
        truncate: Cut longer texts at their end, instead of raising.
        empty_text: What to do about a text without content.
        image_limits: What an image may cost.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        task: Task,
        max_tokens: int,
        truncate: bool,
        image_limits: images.ImageLimits,
        empty_text: EmptyText = "raise",
    ) -> None:
        self._checkpoint = checkpoint
        self._task = task
        self._max_tokens = max_tokens
        self._truncate = truncate
        self._truncation_logged = False
        self._image_limits = image_limits
        self._empty_text = empty_text
        self._image_token_ids = _encode_literal(IMAGE_PROMPT, checkpoint.tokenizer)

    def build(self, item: Item, role: Role) -> Prompt:
        """Build the prompt of one item.

        Raises:
            InputError: The item cannot be embedded.
        """
        match item:
            case str():
                return self._build_text(item, role)
            case TextInput():
                return self._build_text(item.text, role)
            case ImageInput():
                return self._build_image(item)
            case os.PathLike() | bytes() | bytearray() | memoryview() | Image.Image() | images.PageSource():
                return self._build_image(ImageInput(item))
            case _ if hasattr(item, "read"):
                return self._build_image(ImageInput(item))
            case TextImageQuery():
                raise ItemTypeError(
                    "an item is a text or an image, got a TextImageQuery, which is searched or ranked by. Pass its "
                    "text, or its image."
                )
        raise ItemTypeError(
            "an item is a text (str) or an image (path object, bytes, binary file, PIL image, or "
            f"ImageInput(...) around a path, URL or data URI given as str), got {type(item).__name__} {item!r:.60}."
        )

    def _build_text(self, text: str, role: Role) -> TextPrompt:
        _check_text(text, self._empty_text)
        prompt = text_prompt(text, role=role, task=self._task)
        token_ids = self._checkpoint.tokenizer.encode(prompt, add_special_tokens=False).ids
        if len(token_ids) > self._max_tokens:
            self._check_truncation(len(token_ids))
            token_ids = token_ids[: self._max_tokens]
        return TextPrompt(token_ids=token_ids)

    def _check_truncation(self, n_tokens: int) -> None:
        if not self._truncate:
            raise TextTooLongError(
                f"a text may have {self._max_tokens} tokens with its prefix, this one has {n_tokens}. "
                "Split it, raise the engine's max_model_len, or choose truncate=True."
            )
        if not self._truncation_logged:
            self._truncation_logged = True
            logger.warning(
                "cut a text of %d tokens to the engine's %d; further cuts are not logged", n_tokens, self._max_tokens
            )

    def _build_image(self, item: ImageInput) -> ImagePrompt:
        handle = images.inspect(item.source, self._image_limits)
        prompt = ImagePrompt(token_ids=self._image_token_ids, image=handle)
        if handle.size is not None:
            check_image_length(self._checkpoint.grid.of(*handle.size), prompt, self._max_tokens)
        return prompt


def _check_text(text: object, empty_text: EmptyText) -> None:
    if not isinstance(text, str):
        raise ItemTypeError(f"TextInput takes a str, got {type(text).__name__} {text!r:.60}.")
    if not text.strip() and empty_text == "raise":
        raise EmptyTextError(
            f"a text must have content, got {text!r:.60}. Leave it out, embed what stands for it, or choose "
            "empty_text='prompt' where a store insists on a vector."
        )
    if text.startswith("data:image/"):
        raise ItemTypeError(
            f"a str is a text, and this one is an image's data URI: {text[:40]!r}. Write ImageInput(uri)."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a text must be valid Unicode: {error}. Decode its source with the right encoding."
        ) from error


def _encode_literal(literal: str, tokenizer: Tokenizer) -> list[int]:
    token_ids: list[int] = []
    for piece in filter(None, _SPECIAL_TOKEN.split(literal)):
        if not _SPECIAL_TOKEN.fullmatch(piece):
            token_ids += tokenizer.encode(piece, add_special_tokens=False).ids
            continue
        token_id = tokenizer.token_to_id(piece)
        if token_id is None:
            raise CheckpointError(
                f"the checkpoint's tokenizer must know the special token {piece!r} and does not. Fetch it again."
            )
        token_ids.append(token_id)
    return token_ids

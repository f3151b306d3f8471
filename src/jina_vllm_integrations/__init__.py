"""jina-embeddings-v4 run by vLLM: texts and images in one space, dense and one vector a token."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.engine import Engine
    from jina_vllm_integrations.engines.in_process import InProcessEngine
    from jina_vllm_integrations.errors import (
        BrokenPdfError,
        CheckpointError,
        EmptyTextError,
        EncryptedPdfError,
        EngineClosedError,
        EngineDiedError,
        EngineError,
        EngineStartError,
        ImageAddressError,
        ImageError,
        ImageFetchError,
        ImageFormatError,
        ImageNotFoundError,
        ImageSizeError,
        InputError,
        ItemTypeError,
        JinaVLLMError,
        MissingExtraError,
        OptionError,
        PageError,
        PageNotFoundError,
        StoreClosedError,
        StoreDamagedError,
        StoreError,
        StoreFormatError,
        StoreFullError,
        StoreInUseError,
        TextTooLongError,
    )
    from jina_vllm_integrations.foundation.skipping import Skipped
    from jina_vllm_integrations.images import ImageLimits
    from jina_vllm_integrations.preparation import prepare
    from jina_vllm_integrations.reranking import LateInteractionReranker
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import (
        Alignment,
        Embedding,
        Hit,
        ImageInput,
        Ranked,
        TextImageQuery,
        TextInput,
        TokenVectors,
    )

# Where each public name lives. It is imported when it is first asked for: importing this package costs nothing.
_HOMES = {
    "encoding.encoder": ("JinaEncoder",),
    "encoding.engine": ("Engine",),
    "engines.in_process": ("InProcessEngine",),
    "errors": (
        "BrokenPdfError",
        "CheckpointError",
        "EmptyTextError",
        "EncryptedPdfError",
        "EngineClosedError",
        "EngineDiedError",
        "EngineError",
        "EngineStartError",
        "ImageAddressError",
        "ImageError",
        "ImageFetchError",
        "ImageFormatError",
        "ImageNotFoundError",
        "ImageSizeError",
        "InputError",
        "ItemTypeError",
        "JinaVLLMError",
        "MissingExtraError",
        "OptionError",
        "PageError",
        "PageNotFoundError",
        "StoreClosedError",
        "StoreDamagedError",
        "StoreError",
        "StoreFormatError",
        "StoreFullError",
        "StoreInUseError",
        "TextTooLongError",
    ),
    "images": ("ImageLimits",),
    "preparation": ("prepare",),
    "reranking": ("LateInteractionReranker",),
    "token_store": ("TokenStore",),
    "foundation.skipping": ("Skipped",),
    "types": ("Alignment", "Embedding", "Hit", "ImageInput", "Ranked", "TextImageQuery", "TextInput", "TokenVectors"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Alignment",
    "BrokenPdfError",
    "CheckpointError",
    "Embedding",
    "EmptyTextError",
    "EncryptedPdfError",
    "Engine",
    "EngineClosedError",
    "EngineDiedError",
    "EngineError",
    "EngineStartError",
    "Hit",
    "ImageAddressError",
    "ImageError",
    "ImageFetchError",
    "ImageFormatError",
    "ImageInput",
    "ImageLimits",
    "ImageNotFoundError",
    "ImageSizeError",
    "InProcessEngine",
    "InputError",
    "ItemTypeError",
    "JinaEncoder",
    "JinaVLLMError",
    "LateInteractionReranker",
    "MissingExtraError",
    "OptionError",
    "PageError",
    "PageNotFoundError",
    "Ranked",
    "Skipped",
    "StoreClosedError",
    "StoreDamagedError",
    "StoreError",
    "StoreFormatError",
    "StoreFullError",
    "StoreInUseError",
    "TextImageQuery",
    "TextInput",
    "TextTooLongError",
    "TokenStore",
    "TokenVectors",
    "prepare",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("jina-vllm-integrations")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""A process that renders images for another one until that closes the channel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import EngineError, JinaVLLMError
from jina_vllm_integrations.foundation.channel import Parcel, receive, send_object, unpack

if TYPE_CHECKING:
    import socket

    from jina_vllm_integrations.engines.rendering.renderer import Renderer


def serve(end: socket.socket, renderer: Renderer) -> None:
    """Say hello with the process id, then answer jobs in their order: rendered inputs, or the error of an image."""
    renderer.renew_names()
    send_object(end, os.getpid())
    while (job := receive(end)) is not None:
        send_object(end, _rendered(renderer, job))


def _rendered(renderer: Renderer, job: Parcel) -> dict[str, Any] | JinaVLLMError:
    image, token_ids = unpack(job)
    try:
        return renderer.render(image, token_ids)
    except JinaVLLMError as error:
        return error
    except Exception as error:  # noqa: BLE001 - vLLM's or transformers', raised where the image came from
        return EngineError(f"vLLM could not render {image.label!r}: {error!r}")

"""Channels beside an event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.foundation import channel

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


def listen(end: socket.socket, on_message: Callable[[Any], None], on_end: Callable[[], None]) -> None:
    """Call back for each object that comes, and once when the other end is closed; then this one is, too.

    A message that is lost, for want of memory or descriptors, ends the channel: what came after it would be taken for
    it.
    """
    end.settimeout(0)

    def read() -> None:
        while True:
            try:
                parcel = channel.receive(end)
                message = None if parcel is None else channel.unpack(parcel)
            except BlockingIOError:
                return
            except Exception:
                logger.exception("a message of a render process was lost")
                break
            if parcel is None:
                break
            on_message(message)
        hang_up(end)
        on_end()

    asyncio.get_running_loop().add_reader(end, read)


def hang_up(end: socket.socket) -> None:
    """Close an end that is listened to. Nothing is called back any more."""
    asyncio.get_running_loop().remove_reader(end)
    end.shutdown(socket.SHUT_RDWR)  # closing would not be enough where this process has forks, which hold it, too
    end.close()


def send(end: socket.socket, parcel: channel.Parcel) -> None:
    """Send a parcel. Where that fails the channel is at its end, which is heard by who listens."""
    try:
        channel.send(end, parcel)
    except OSError:
        end.shutdown(socket.SHUT_RDWR)


def send_object(end: socket.socket, value: object) -> None:
    """Pack an object and send it, likewise."""
    try:
        channel.send_object(end, value)
    except OSError:
        end.shutdown(socket.SHUT_RDWR)

"""Objects between processes of one machine, through anonymous shared memory.

A message is a memory file with a pickle and its large arrays; only its descriptor goes through the socket. So the
receiver maps what the sender wrote, a message of any size fits any socket, and the kernel frees it with its last user,
whoever dies. Nothing lies in ``/dev/shm``, of which a container often has 64 MiB.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

_ALIGNMENT = 64
_MOST_PARTS = 64


class Parcel(NamedTuple):
    """A packed object.

    Attributes:
        descriptor: Of the memory file. Whoever holds the parcel closes it.
        sizes: Bytes of the pickle and of each array after it, which all start at multiples of 64.
    """

    descriptor: int
    sizes: tuple[int, ...]


def connection() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel. Each sees the end of the other as the end of its messages."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def pack(value: object) -> Parcel:
    """Write an object into a new memory file; arrays and tensors are copied once, as they are."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = io.BytesIO()
    _Pickler(pickled, protocol=5, buffer_callback=arrays.append).dump(value)
    parts = [pickled.getbuffer(), *(array.raw() for array in arrays)]
    descriptor = os.memfd_create("jina-vllm", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        for part in parts:
            file.seek(_aligned(file.tell()))
            file.write(part)
    return Parcel(descriptor, tuple(part.nbytes for part in parts))


def unpack(parcel: Parcel) -> Any:
    """Return the object, whose arrays lie in the shared memory, and close the parcel."""
    try:
        memory = memoryview(mmap.mmap(parcel.descriptor, 0))  # lives as long as an array in it
    finally:
        os.close(parcel.descriptor)
    parts = []
    start = 0
    for size in parcel.sizes:
        parts.append(memory[start : start + size])
        start = _aligned(start + size)
    # Written by this very program: nobody else has the socket.
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301


def send(end: socket.socket, parcel: Parcel) -> None:
    """Send a parcel, which stays the sender's to close.

    Raises:
        OSError: The other end is closed.
    """
    socket.send_fds(end, [struct.pack(f"{len(parcel.sizes)}Q", *parcel.sizes)], [parcel.descriptor])


def send_object(end: socket.socket, value: object) -> None:
    """Pack an object and send it.

    Raises:
        OSError: The other end is closed.
    """
    parcel = pack(value)
    try:
        send(end, parcel)
    finally:
        os.close(parcel.descriptor)


def send_descriptor(end: socket.socket, descriptor: int) -> None:
    """Send a descriptor, of an end of another channel or of an open file, which stays the sender's to close.

    Raises:
        OSError: The other end is closed.
    """
    socket.send_fds(end, [b"\0"], [descriptor])


def receive(end: socket.socket) -> Parcel | None:
    """Wait for the next parcel; ``None`` once the other end is closed.

    Raises:
        BlockingIOError: There is none yet, and the socket does not block.
    """
    header, descriptors = _received(end)
    if not descriptors:
        return None
    return Parcel(descriptors[0], struct.unpack(f"{len(header) // 8}Q", header))


def is_closed(end: socket.socket) -> bool:
    """Whether the other end is closed and all its messages are received. The socket must not block."""
    try:
        return not end.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionResetError:  # the other process was killed with messages unread
        return True


def receive_descriptor(end: socket.socket) -> int | None:
    """Wait for the next descriptor, which is the receiver's to close; ``None`` once the other end is closed."""
    _, descriptors = _received(end)
    return descriptors[0] if descriptors else None


def _received(end: socket.socket) -> tuple[bytes, list[int]]:
    try:
        header, descriptors, _, _ = socket.recv_fds(end, 8 * _MOST_PARTS, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # the other process was killed with messages unread
        return b"", []
    return header, descriptors


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays, which need no copy into the pickle."""

    def reducer_override(self, value: object) -> Any:
        torch = sys.modules.get("torch")  # without it there are no tensors
        if torch is None or not isinstance(value, torch.Tensor):
            return NotImplemented
        # As bytes: NumPy does not know bfloat16.
        content = value.contiguous().reshape(-1).view(torch.uint8).numpy()
        return _tensor, (content, value.dtype, tuple(value.shape))


def _tensor(content: npt.NDArray[np.uint8], dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    import torch

    return torch.from_numpy(content).view(dtype).reshape(shape)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT

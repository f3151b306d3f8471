"""The channel to the processes that render: what is sent arrives, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from jina_vllm_integrations.foundation import channel
from render_pools import memory_files


def mapped_messages():
    """Return how many messages this process has in its memory."""
    gc.collect()
    return Path("/proc/self/maps").read_text().count("jina-vllm")


def round_trip(value):
    """Send an object through a channel to oneself."""
    ours, theirs = channel.connection()
    with ours, theirs:
        parcel = channel.pack(value)
        channel.send(ours, parcel)
        os.close(parcel.descriptor)
        return channel.unpack(channel.receive(theirs))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.arange(12).reshape(3, 4).T,
        np.zeros((0, 7), dtype=np.uint8),
        np.array(3.5),
        np.array(["a", "bc"]),
    ],
    ids=["float32", "Fortran order", "empty", "0-d", "strings"],
)
def test_arrays_arrive_as_they_were(array):
    """Values, types and shapes are those of the sender."""
    arrived = round_trip({"first": array, "second": [array]})
    for copy in (arrived["first"], arrived["second"][0]):
        np.testing.assert_array_equal(copy, array, strict=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(5, 3), (1,), (), (0, 4)])
def test_tensors_arrive_as_they_were(dtype, shape):
    """That includes types that NumPy does not have, tensors without dimensions and without elements."""
    tensor = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    arrived = round_trip([tensor, tensor.flip(0) if shape else tensor])
    assert [each.dtype for each in arrived] == [dtype, dtype]
    assert arrived[0].shape == tensor.shape
    assert torch.equal(arrived[0], tensor)
    assert torch.equal(arrived[1], tensor.flip(0) if shape else tensor)


def test_a_tensor_that_is_a_part_of_another_arrives_alone():
    """A transposed slice comes with its own elements."""
    tensor = torch.arange(24).reshape(4, 6)[:, 1:3].T
    assert torch.equal(round_trip(tensor), tensor)


@pytest.mark.parametrize("content", [b"", b"x" * (3 * 2**20)], ids=["empty", "3 MiB"])
def test_bytes_of_any_size_arrive(content):
    """A message may be larger than a socket's buffer."""
    assert round_trip(content) == content


def test_an_array_of_many_megabytes_arrives_and_can_be_written():
    """The receiver owns what it got."""
    arrived = round_trip(np.full(2**22, 7.0))
    arrived += 1
    assert arrived.min() == arrived.max() == 8


def test_messages_come_in_order_and_end_with_the_sender():
    """What was sent is read even after the sender has gone."""
    ours, theirs = channel.connection()
    with theirs:
        with ours:
            for number in range(3):
                parcel = channel.pack(number)
                channel.send(ours, parcel)
                os.close(parcel.descriptor)
        assert [channel.unpack(channel.receive(theirs)) for _ in range(3)] == [0, 1, 2]
        assert channel.receive(theirs) is None


def test_a_socket_can_be_handed_over():
    """Two ends of a new channel work after one went through another channel."""
    (ours, theirs), (mine, yours) = channel.connection(), channel.connection()
    with ours, theirs, mine:
        channel.send_descriptor(ours, yours.fileno())
        yours.close()
        with socket.socket(fileno=channel.receive_descriptor(theirs)) as arrived:
            parcel = channel.pack("hello")
            channel.send(mine, parcel)
            assert channel.unpack(channel.receive(arrived)) == "hello"
        os.close(parcel.descriptor)


def test_sending_to_nobody_raises():
    """A sender learns that the other end is closed."""
    ours, theirs = channel.connection()
    theirs.close()
    parcel = channel.pack("hello")
    with ours, pytest.raises(OSError, match="Broken pipe"):
        channel.send(ours, parcel)
    os.close(parcel.descriptor)


def test_nothing_is_left_of_messages():
    """Memory and descriptors go with the last array; those of a message without arrays at once."""
    files, messages = memory_files(), mapped_messages()
    round_trip("no array")
    assert (memory_files(), mapped_messages()) == (files, messages)
    first, second = round_trip([np.arange(9000), torch.arange(9000)])
    assert mapped_messages() == messages + 1
    del first
    assert mapped_messages() == messages + 1
    assert second.sum() == sum(range(9000))
    del second
    assert (memory_files(), mapped_messages()) == (files, messages)

"""Servers that others wrote, started once a session, and where a test's store may be made."""

from __future__ import annotations

import asyncio
import gc
from contextlib import ExitStack

import pytest

from chroma_server import chroma_server
from langchain_stores import COLOURS
from other_stores import Place
from pictures import scans_of
from postgres_server import postgres_server


@pytest.fixture(scope="session")
def postgres():
    """Return the socket of a PostgreSQL with pgvector."""
    with postgres_server() as socket:
        yield socket


@pytest.fixture(scope="session")
def chroma_port(tmp_path_factory):
    """Return the port of a Chroma server."""
    with chroma_server(tmp_path_factory.mktemp("chroma")) as port:
        yield port


@pytest.fixture
def scans(tmp_path):
    """Return a folder with a page of each colour."""
    return scans_of(tmp_path, COLOURS)


@pytest.fixture(params=["sync", "async"])
def way(request):
    """Return whether methods are called, or their asynchronous twins."""
    return request.param


@pytest.fixture
def place_for(request, tmp_path, way):
    """Return what gives a row its place; what its stores leave open is closed afterwards."""
    with asyncio.Runner() as runner, ExitStack() as closing:
        yield lambda row: Place(
            folder=tmp_path,
            server=request.getfixturevalue(row.server) if row.server else None,
            runner=runner,
            way=way,
            closing=closing,
        )
    gc.collect()  # what clients leave open is found here, and no other test is blamed for it

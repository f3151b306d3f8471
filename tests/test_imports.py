"""Which module may import which, and what importing the package costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import jina_vllm_integrations

PACKAGE = "jina_vllm_integrations"
ROOT = Path(jina_vllm_integrations.__file__).parent

# A module imports from its own layer and those above it.
LAYERS = (
    {"errors"},
    {"foundation", "options", "closable", "progress", "cache", "cores"},
    {"images"},
    {"types"},
    {"model", "model_files", "projectors", "checkpoints", "fingerprints", "prompts", "spans", "pooling"},
    {"scoring", "quantization", "compression", "pages", "vllm_plugin"},
    {"preparation", "random_checkpoint"},
    {"encoding", "in_flight", "content", "requests", "encoder"},
    {"engines", "rendering"},
    {"token_store"},
    {"reranking", "heatmaps", "qdrant", "benchmarking"},
    {
        *("adapters", "lazy_encoder", "copying", "image_access", "adapter_batches", "page_images", "thumbnails"),
        *("threaded", "dense_cache", "dense_records", "document_vectors", "page_results"),
    },
    {"langchain", "llama_index"},
    {"demo", "testing"},
    {"cli", "doctor", "installation", "sources", "vector_files"},
)
FRAMEWORK_OF = {"langchain": "langchain_core", "llama_index": "llama_index"}
HEAVY = {
    *("vllm", "torch", "torchvision", "transformers", "langchain_core", "llama_index"),
    *("numpy", "PIL", "tokenizers", "numba", "qdrant_client", "scipy", "pypdfium2"),
}


def modules():
    """Yield each module's room, the file or folder right below the package, and its path."""
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__" and "vllm_plugin" not in path.parts[-2:-1]:
            yield room, path


def imports_of(path, *, only_at_import):
    """Yield the modules that a file imports, those for type checkers left out."""

    def visit(node):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from (f"{PACKAGE}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(path.read_text()))


def layer_of(room):
    """Return the number of a room's layer."""
    (layer,) = (number for number, rooms in enumerate(LAYERS) if room in rooms)
    return layer


@pytest.mark.parametrize(("room", "path"), list(modules()), ids=lambda value: getattr(value, "stem", value))
def test_imports_run_one_way(room, path):
    """No module imports from a layer below its own."""
    for name in imports_of(path, only_at_import=False):
        if name.startswith(f"{PACKAGE}."):
            imported = name.split(".")[1]
            assert imported == "__version__" or layer_of(imported) <= layer_of(room), f"{path.name} imports {name}"


@pytest.mark.parametrize(("room", "path"), list(modules()), ids=lambda value: getattr(value, "stem", value))
def test_no_module_imports_an_engine_or_a_framework_when_it_is_imported(room, path):
    """Heavy and optional packages are imported where they are used."""
    heavy = HEAVY - {"numpy", "PIL", "numba"} - {FRAMEWORK_OF.get(room)}
    assert not heavy & {name.split(".")[0] for name in imports_of(path, only_at_import=True)}


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

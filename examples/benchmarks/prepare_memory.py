"""Peak memory and seconds of preparing a base repository of the published size. Target: under 2.5 GB.

The repository's files have the real headers and no contents: they take no room and read as zeros. What is made of
them takes 7.5 GB for the length of a run. Each way to prepare, and a second run of each, is a process of its own.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from recording import record

from jina_vllm_integrations.preparation.base_repo import LINEARS
from jina_vllm_integrations.preparation.random_checkpoint import write_random_checkpoint
from jina_vllm_integrations.preparation.task_adapters import TASKS
from jina_vllm_integrations.preparation.tensor_files import encode_header

HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY, KEY_VALUE = 2048, 11008, 36, 151_936, 256
VISION_HIDDEN, VISION_INTERMEDIATE, VISION_LAYERS = 1280, 3420, 32
RANK = 32
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEY_VALUE, HIDDEN),
    "self_attn.v_proj": (KEY_VALUE, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
WAYS = {"one task": "task='retrieval'", "all tasks": "all_tasks=True"}


@dataclass(frozen=True)
class Zeros:
    """A tensor of which only the header is written."""

    shape: tuple[int, ...]
    dtype: str = "BF16"

    @property
    def nbytes(self) -> int:
        """Two for each value."""
        return 2 * math.prod(self.shape)


def model_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of Qwen2.5-VL-3B's weights and of the projector."""
    shapes = {
        "model.language_model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.language_model.norm.weight": (HIDDEN,),
    }
    for layer in range(LAYERS):
        home = f"model.language_model.layers.{layer}"
        shapes |= {f"{home}.{linear}.weight": shape for linear, shape in SHAPES.items()}
        shapes |= {f"{home}.{linear}.bias": SHAPES[linear][:1] for linear in LINEARS[:3]}
        shapes |= {f"{home}.{norm}.weight": (HIDDEN,) for norm in ("input_layernorm", "post_attention_layernorm")}
    for layer in range(VISION_LAYERS):
        home = f"model.visual.blocks.{layer}"
        linears = {
            "attn.qkv": (3 * VISION_HIDDEN, VISION_HIDDEN),
            "attn.proj": (VISION_HIDDEN, VISION_HIDDEN),
            "mlp.gate_proj": (VISION_INTERMEDIATE, VISION_HIDDEN),
            "mlp.up_proj": (VISION_INTERMEDIATE, VISION_HIDDEN),
            "mlp.down_proj": (VISION_HIDDEN, VISION_INTERMEDIATE),
        }
        shapes |= {f"{home}.{linear}.weight": shape for linear, shape in linears.items()}
        shapes |= {f"{home}.{linear}.bias": shape[:1] for linear, shape in linears.items()}
        shapes |= {f"{home}.{norm}.weight": (VISION_HIDDEN,) for norm in ("norm1", "norm2")}
    return shapes | {
        "model.visual.patch_embed.proj.weight": (VISION_HIDDEN, 3, 2, 14, 14),
        "model.visual.merger.ln_q.weight": (VISION_HIDDEN,),
        "model.visual.merger.mlp.0.weight": (4 * VISION_HIDDEN, 4 * VISION_HIDDEN),
        "model.visual.merger.mlp.0.bias": (4 * VISION_HIDDEN,),
        "model.visual.merger.mlp.2.weight": (HIDDEN, 4 * VISION_HIDDEN),
        "model.visual.merger.mlp.2.bias": (HIDDEN,),
        "multi_vector_projector.weight": (128, HIDDEN),
        "multi_vector_projector.bias": (128,),
    }


def adapter_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of the adapters of all tasks."""
    modules = {
        f"model.language_model.layers.{layer}.{linear}": shape
        for layer in range(LAYERS)
        for linear, shape in SHAPES.items()
    }
    modules["multi_vector_projector"] = (128, HIDDEN)
    return {
        f"base_model.model.{module}.lora_{part}.{task}.weight": (RANK, columns) if part == "A" else (rows, RANK)
        for module, (rows, columns) in modules.items()
        for task in TASKS
        for part in "AB"
    }


def write_sparse(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write a weight file without contents."""
    tensors = {name: Zeros(shape) for name, shape in shapes.items()}
    header = encode_header(tensors)
    file.write_bytes(header)
    os.truncate(file, len(header) + sum(tensor.nbytes for tensor in tensors.values()))


def write_base_repo(directory: Path) -> None:
    """Write a base repository of the published size."""
    write_random_checkpoint(directory, hidden_size=256)
    (directory / "model.safetensors").unlink()
    config = json.loads((directory / "config.json").read_text())
    config["text_config"] |= {"hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "adapters").mkdir()
    (directory / "adapters" / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": RANK}))
    shapes = model_shapes()
    names = list(shapes)
    homes = {}
    write_sparse(directory / "adapters" / "adapter_model.safetensors", adapter_shapes())
    for shard, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"model-{shard:05}-of-00002.safetensors"
        write_sparse(directory / file, {name: shapes[name] for name in part})
        homes |= dict.fromkeys(part, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))


def measure(src: Path, out: Path, options: str) -> dict[str, float]:
    """Prepare in a process of its own and return its peak memory and seconds."""
    script = f"from jina_vllm_integrations.preparation import prepare; prepare({str(src)!r}, {str(out)!r}, {options})"
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", script])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return {"peak_mb": round(usage.ru_maxrss / 1024, 1), "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Measure and record."""
    figures = {}
    with TemporaryDirectory() as folder:
        # Apart, because a process counts what its parent had in memory when it was started.
        subprocess.run([sys.executable, __file__, "--write", folder], check=True)
        source_size = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors"))
        for way, options in WAYS.items():
            with TemporaryDirectory(dir=folder) as target:
                out = Path(target) / "out"
                figures[way] = measure(Path(folder) / "base", out, options)
                figures[way]["output_gb"] = round(sum(p.stat().st_size for p in out.rglob("*.safetensors")) / 1e9, 2)
                figures[f"{way}, again"] = measure(Path(folder) / "base", out, options)
    record("prepare_memory", {"source_gb": round(source_size / 1e9, 2), "runs": figures})


if __name__ == "__main__":
    if "--write" in sys.argv:
        write_base_repo(Path(sys.argv[-1]) / "base")
    else:
        main()

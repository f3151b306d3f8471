"""Where pooling runs, on a GPU: stock ``token_embed`` pooled by the client, and pooling inside vLLM by our plugin.

A checkpoint with the geometry of jina-embeddings-v4 (Qwen2.5-VL-3B) and random bfloat16 weights of unit gain, so that
vectors depend on texts and pixels. Each way runs alone in a fresh process: texts of 64 and of 512 tokens and pages of
768 image tokens, all different, through `JinaEncoder`; beside it ``LLM.encode`` with a pooling loop, as published
examples do it. Speeds are of one pass after a warm pass of a tenth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from recording import record

from jina_vllm_integrations import InProcessEngine, JinaEncoder
from jina_vllm_integrations.random_checkpoint import write_random_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXT_CONFIG = {
    "vocab_size": 151936,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
}
VISION_CONFIG = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
OPTIONS = {"max_model_len": 4096, "max_num_batched_tokens": 16384, "gpu_memory_utilization": 0.6}
PROMPT_TOKENS = len("Passage: ")
# 32 x 24 cells of 28 pixels: the most that the processor allows.
PAGE_SIZE, PAGE_TOKENS = (896, 672), 768
# A token is a byte: before the span come one special token and 'user\\n', after it 19 bytes, a special one and '\\n'.
IMAGE_SPAN = slice(6, -21)
SAMPLE = 8


def texts(count: int, tokens: int, seed: int) -> list[str]:
    """Return random texts of so many tokens with their prefix; the checkpoint's tokens are bytes."""
    letters = np.random.default_rng(seed).integers(97, 123, size=(count, tokens - PROMPT_TOKENS), dtype=np.uint8)
    return [row.tobytes().decode() for row in letters]


def pages(count: int, seed: int) -> list[Image.Image]:
    """Return random pictures, coarse enough to survive resizing."""
    rng = np.random.default_rng(seed)
    width, height = PAGE_SIZE
    cells = rng.integers(0, 256, size=(count, height // 8, width // 8, 3), dtype=np.uint8)
    return [Image.fromarray(page.repeat(8, axis=0).repeat(8, axis=1)) for page in cells]


def work(scale: float) -> dict[str, tuple[list[Any], int]]:
    """Return the items of each kind and their tokens each, as many as a minute or two can do at scale 1."""
    return {
        "texts of 64 tokens": (texts(int(8192 * scale), 64, 0), 64),
        "texts of 512 tokens": (texts(int(2048 * scale), 512, 1), 512),
        "pages of 768 image tokens": (pages(int(320 * scale), 2), PAGE_TOKENS),
    }


def speed(run: Callable[[Sequence[Any]], object], items: list[Any], tokens: int) -> dict[str, float]:
    """Return items and tokens a second."""
    run(items[: max(SAMPLE, len(items) // 10)])
    start = time.perf_counter()
    run(items)
    seconds = time.perf_counter() - start
    return {
        "items_per_second": round(len(items) / seconds, 1),
        "tokens_per_second": round(len(items) * tokens / seconds),
    }


def published(checkpoint: str, jobs: dict[str, tuple[list[Any], int]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure ``LLM.encode`` and a loop."""
    from vllm import LLM
    from vllm.config import PoolerConfig

    llm = LLM(
        checkpoint,
        runner="pooling",
        pooler_config=PoolerConfig(task="token_embed", use_activation=False),
        hf_overrides={"architectures": ["Qwen2_5_VLForConditionalGeneration"]},
        enable_prefix_caching=False,
        limit_mm_per_prompt={"image": 1, "video": 0},
        **OPTIONS,
    )
    image_prompt = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"

    def run(items: Sequence[Any]) -> np.ndarray:
        prompts = [
            f"Passage: {item}"
            if isinstance(item, str)
            else {"prompt": image_prompt, "multi_modal_data": {"image": item}}
            for item in items
        ]
        vectors = []
        for item, output in zip(items, llm.encode(prompts, pooling_task="token_embed", use_tqdm=False), strict=True):
            states = output.outputs.data if isinstance(item, str) else output.outputs.data[IMAGE_SPAN]
            mean = states.float().mean(dim=0)
            vectors.append((mean / mean.norm()).numpy())
        return np.stack(vectors)

    return {name: speed(run, *job) for name, job in jobs.items()}, {}


def ours(
    checkpoint: str, jobs: dict[str, tuple[list[Any], int]], pooling: Any, output: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure `JinaEncoder`, and keep the vectors of a few items of each kind."""
    with InProcessEngine(checkpoint, pooling=pooling, **OPTIONS) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        call = {"dense": encoder.embed, "tokens": encoder.embed_tokens, "both": encoder.embed_both}[output]
        speeds = {name: speed(lambda items: call(items, role="document"), *job) for name, job in jobs.items()}
        sample = [item for items, _ in jobs.values() for item in items[:SAMPLE]]
        dense, tokens = encoder.embed_both(sample, role="document")
    return speeds, {"dense": dense, "tokens": np.concatenate([item.vectors for item in tokens])}


WAYS = {
    "LLM.encode and a loop": published,
    "client, dense": lambda *job: ours(*job, "client", "dense"),
    "plugin, dense": lambda *job: ours(*job, "engine", "dense"),
    "plugin, token vectors": lambda *job: ours(*job, "engine", "tokens"),
    "plugin, both": lambda *job: ours(*job, "engine", "both"),
}


def least_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the smallest cosine of two arrays' rows."""
    return float((ours * theirs).sum(axis=-1).min())


def main() -> None:
    """Measure each way in a process of its own, and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--checkpoint", default=str(Path(tempfile.gettempdir()) / "random-jina-embeddings-v4"))
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_random_checkpoint(
            options.checkpoint,
            hidden_size=2048,
            text_config=TEXT_CONFIG,
            vision_config=VISION_CONFIG,
            dtype="bfloat16",
            device="cuda",
        )
        return
    if options.way:
        speeds, vectors = WAYS[options.way](options.checkpoint, work(options.scale))
        np.savez(options.out, speeds=json.dumps(speeds), **vectors)
        return
    if not Path(options.checkpoint).is_dir():  # in a process of its own, which gives the GPU's memory back
        subprocess.run([sys.executable, __file__, "--write", "--checkpoint", options.checkpoint], check=True)
    figures: dict[str, Any] = {}
    vectors = {}
    with tempfile.TemporaryDirectory() as scratch:
        for way in options.ways:
            out = Path(scratch) / "way.npz"
            arguments = ["--way", way, "--out", str(out), "--checkpoint", options.checkpoint]
            subprocess.run([sys.executable, __file__, *arguments, "--scale", str(options.scale)], check=True)
            with np.load(out) as results:
                figures[way] = json.loads(str(results["speeds"]))
                vectors[way] = {name: results[name] for name in results.files if name != "speeds"}
            print(way, figures[way], flush=True)
    client = vectors.get("client, dense")
    agreement = {
        way: {f"least cosine, {kind}": least_cosine(vectors[way][kind], client[kind]) for kind in ("dense", "tokens")}
        for way in options.ways
        if client and way.startswith("plugin")
    }
    record("gpu_pooling", {"device": device(), "speeds": figures, "agreement_with_client_pooling": agreement})


def device() -> str:
    """Return the GPU's name."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


if __name__ == "__main__":
    main()

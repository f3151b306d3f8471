"""The geometry of jina-embeddings-v4 (Qwen2.5-VL-3B) with random weights, for the GPU benchmarks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from jina_vllm_integrations.preparation.random_checkpoint import write_random_checkpoint

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
CHECKPOINT = Path(tempfile.gettempdir()) / "random-jina-embeddings-v4"
VISION_CHECKPOINT = Path(tempfile.gettempdir()) / "random-jina-embeddings-v4-vision"


def written(checkpoint: str | Path = CHECKPOINT) -> str:
    """Write the checkpoint unless it is there, in a process of its own, which gives the GPU's memory back."""
    if not Path(checkpoint).is_dir():
        subprocess.run([sys.executable, __file__, str(checkpoint)], check=True)
    return str(checkpoint)


def vision_written(checkpoint: Path = VISION_CHECKPOINT) -> str:
    """Write the vision encoder alone in its full size, before a language model of two small layers, on the CPU."""
    if not checkpoint.is_dir():
        write_random_checkpoint(checkpoint, vision_config=VISION_CONFIG, dtype="bfloat16")
    return str(checkpoint)


def write(checkpoint: str) -> None:
    """Draw bfloat16 weights of unit gain, so that vectors depend on texts and pixels."""
    write_random_checkpoint(
        checkpoint,
        hidden_size=2048,
        text_config=TEXT_CONFIG,
        vision_config=VISION_CONFIG,
        dtype="bfloat16",
        device="cuda",
    )


if __name__ == "__main__":
    write(sys.argv[1])

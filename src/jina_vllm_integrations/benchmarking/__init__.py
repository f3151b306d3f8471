"""How fast an encoder is, how long its calls take, and how far both are from what the hardware allows.

::

    conditions = Conditions(seconds=20, peak_tflops=790)
    for workload in (Stream(parse_mixture("pages:784x768")), Calls(parse_mixture("texts:128"), batch_size=16)):
        measurement = measure(encoder, workload, conditions)
        measurement.items_per_second
        measurement.share_of_limit   # of the paper limit, from the checkpoint's sizes and the GPU's peak

The command ``jina-vllm bench`` is made of these.
"""

from __future__ import annotations

from jina_vllm_integrations.benchmarking.conditions import Conditions
from jina_vllm_integrations.benchmarking.devices import Device, find_device
from jina_vllm_integrations.benchmarking.limits import Geometry
from jina_vllm_integrations.benchmarking.measurements import Latency, Measurement
from jina_vllm_integrations.benchmarking.measuring import check, measure
from jina_vllm_integrations.benchmarking.tables import Table
from jina_vllm_integrations.benchmarking.workloads import (
    STANDARD,
    Calls,
    Mixture,
    Pages,
    QueriesBeside,
    Stream,
    Texts,
    Workload,
    parse_mixture,
    parse_workload,
)

__all__ = [
    "STANDARD",
    "Calls",
    "Conditions",
    "Device",
    "Geometry",
    "Latency",
    "Measurement",
    "Mixture",
    "Pages",
    "QueriesBeside",
    "Stream",
    "Table",
    "Texts",
    "Workload",
    "check",
    "find_device",
    "measure",
    "parse_mixture",
    "parse_workload",
]

"""Measurements of speed: the items are those asked for, the figures fit each other, the limit is the model's."""

from __future__ import annotations

import io
import json
import sys
from itertools import count, islice
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import CheckpointError, ImageSizeError, JinaEncoder, OptionError
from jina_vllm_integrations.benchmarking import (
    Calls,
    Conditions,
    Device,
    Geometry,
    Mixture,
    Pages,
    QueriesBeside,
    Stream,
    Texts,
    clocks,
    devices,
    find_device,
    measure,
    memory,
    parse_mixture,
    parse_workload,
)
from jina_vllm_integrations.benchmarking.items import Supply, Work
from jina_vllm_integrations.benchmarking.tables import short
from jina_vllm_integrations.cli import main
from jina_vllm_integrations.demo.checkpoint import demo_checkpoint
from jina_vllm_integrations.engines import in_process, vllm_runtime
from jina_vllm_integrations.errors import EngineClosedError
from jina_vllm_integrations.model.checkpoints import Checkpoint
from jina_vllm_integrations.testing import FakeEngine

# Qwen2.5-VL-3B's, as in jina-embeddings-v4.
FULL_SIZE = {
    "text_config": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}
FEW = Conditions(items=4, warmup=2)


@pytest.fixture(autouse=True)
def same_environment():
    """Undo what a command sets in this process's environment."""
    with mock.patch.dict("os.environ"):
        yield


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """Let every machine be one without a GPU."""
    monkeypatch.setattr(devices.shutil, "which", lambda _: None)


@pytest.fixture
def fake():
    """Return a retrieval encoder of a fake engine."""
    with FakeEngine() as engine:
        yield JinaEncoder(engine, task="retrieval")


@pytest.fixture
def bench(monkeypatch):
    """Return a function that runs ``bench`` on a fake engine."""
    monkeypatch.setattr(in_process, "InProcessEngine", lambda *_, **__: FakeEngine())
    return lambda *arguments: main(["bench", "--model", "m", "--items", "2", "--warmup", "1", *arguments])


def text_lengths(encoder, texts, role):
    """Return the tokens of texts with their prefixes."""
    return {len(request.prompt.token_ids) for request in encoder.requests(texts, role=role, output="dense")}


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize("n_tokens", [12, 16, 33, 512])
def test_texts_have_exactly_the_tokens_asked_for(fake, role, n_tokens):
    """With a token a byte, prefix included, none twice, whether made before or when they are needed."""
    supply = Supply(fake, Mixture(((1, Texts(n_tokens)),)), Conditions(role=role))
    supply.prepare(20)
    texts = [item for item, _ in islice(supply, 40)]
    assert text_lengths(fake, texts, role) == {n_tokens}
    assert len(set(texts)) == 40
    assert supply.n_made_late == 20


@pytest.mark.parametrize("n_tokens", [5, 16, 77, 512])
def test_texts_of_a_tokenizer_that_merges(n_tokens):
    """The demo's tokenizer has words and pieces of words, as the real one has."""
    checkpoint = Checkpoint.read(demo_checkpoint())
    with FakeEngine() as engine:
        engine.checkpoint = checkpoint
        encoder = JinaEncoder(engine, task="retrieval")
        texts, work = Supply(encoder, Mixture(((1, Texts(n_tokens)),)), Conditions()).take(20)
        assert text_lengths(encoder, texts, "document") == {n_tokens}
        assert len(set(texts)) == 20
        assert (work.items, work.tokens) == (20, 20 * n_tokens)


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_pages_are_encoded_pictures_of_the_size_asked_for(fake, image_format):
    """Encoded bytes of another picture each, and the tokens that the engine makes of one."""
    supply = Supply(fake, parse_mixture("pages:120x90"), Conditions(image_format=image_format))
    pages, work = supply.take(3)
    for page in pages:
        with Image.open(io.BytesIO(page)) as image:
            assert (image.size, image.format.lower()) == ((120, 90), image_format)
    (first, second, third) = fake.embed_tokens(pages, role="document")
    assert work.tokens == len(first.token_ids) + len(second.token_ids) + len(third.token_ids)
    assert not np.array_equal(first.vectors, second.vectors)


def test_a_mixture_is_spread_evenly(fake):
    """Kinds take turns in their ratio, each with the tokens of its own."""
    mixture = parse_mixture("4texts:32+2pages:56x56")
    items = [item for item, _ in islice(Supply(fake, mixture, Conditions()), 12)]
    assert "".join("t" if isinstance(item, str) else "p" for item in items) == "tpttpt" * 2


def test_small_items_run_out(fake):
    """Where there are no more different texts, that is said instead of repeating one."""
    with pytest.raises(OptionError, match=r"items must be different.*Make larger ones"):
        Supply(fake, parse_mixture("texts:10"), Conditions()).take(200)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("texts:9", OptionError, r"'Passage: ' \(9 tokens\).*got 9"),
        ("texts:5000", OptionError, r"up to 4096 tokens, got texts:5000"),
        ("pages:5000x10", ImageSizeError, "200 times"),
    ],
)
def test_items_that_cannot_be(fake, spec, error, message):
    """What the model cannot take is said before anything is measured."""
    with pytest.raises(error, match=message):
        measure(fake, parse_workload(spec), FEW)


@pytest.mark.parametrize(
    ("spec", "sizes", "workload", "shown"),
    [
        ("texts:512", {}, Stream(Mixture(((1, Texts(512)),))), "texts:512, stream"),
        ("pages:784x768", {"batch_size": 8}, Calls(Mixture(((1, Pages(784, 768)),)), 8), "pages:784x768, batch 8"),
        ("texts:9", {"concurrency": 2}, Calls(Mixture(((1, Texts(9)),)), 1, 2), "texts:9, batch 1, 2 callers"),
        (
            "queries-beside:4texts:128+pages:56x56",
            {},
            QueriesBeside(Mixture(((4, Texts(128)), (1, Pages(56, 56))))),
            "queries-beside:4texts:128+pages:56x56",
        ),
    ],
)
def test_specifications(spec, sizes, workload, shown):
    """A specification and what is asked for besides name a workload, which shows itself so."""
    assert parse_workload(spec, **sizes) == workload
    assert str(workload) == shown


@pytest.mark.parametrize(
    "spec", ["", "texts", "texts:0", "texts:1.5", "pages:12", "pages:0x1", "texts:9+", "beside:texts:9"]
)
def test_specifications_of_nothing(spec):
    """What names no workload is refused with examples of what does."""
    with pytest.raises(OptionError, match=r"Write e\.g\. texts:512"):
        parse_workload(spec)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seconds", 0), ("seconds", float("nan")), ("items", 0), ("warmup", 0), ("role", "page"), ("output", "all")],
)
def test_conditions_that_cannot_be(name, value):
    """A bad value is named."""
    with pytest.raises(OptionError, match=f"{name} must be"):
        Conditions(**{name: value})


def test_the_operations_of_the_full_size_model():
    """The count is the one that was done by hand, in 10^12 operations."""
    geometry = Geometry.of(FULL_SIZE)
    assert geometry.text_operations(512) / 1e12 == pytest.approx(2.88, abs=0.005)
    assert geometry.text_operations(1039) / 1e12 == pytest.approx(5.93, abs=0.01)
    assert geometry.page_operations(1039, (32, 32)) / 1e12 == pytest.approx(5.93 + 5.63, abs=0.01)
    assert geometry.page_operations(783, (32, 24)) / 1e12 == pytest.approx(8.59, abs=0.01)
    assert geometry.page_operations(271, (16, 16)) / 1e12 == pytest.approx(2.86, abs=0.005)


def test_windows_at_the_edge_are_smaller():
    """What a window does not fill, nothing attends to."""
    vision = {**FULL_SIZE["vision_config"], "fullatt_block_indexes": []}
    geometry = Geometry.of({**FULL_SIZE, "vision_config": vision})
    two_rows, three_rows, with_a_rest = (geometry.page_operations(0, (rows, 8)) / rows for rows in (8, 12, 9))
    assert two_rows == pytest.approx(three_rows)
    assert with_a_rest < two_rows


def test_older_configurations_state_the_text_sizes_at_the_top():
    """Both places give the same count."""
    older = {**FULL_SIZE["text_config"], "vision_config": FULL_SIZE["vision_config"]}
    assert Geometry.of(older) == Geometry.of(FULL_SIZE)
    with pytest.raises(CheckpointError, match="'depth'"):
        Geometry.of({**FULL_SIZE, "vision_config": {"fullatt_block_indexes": []}})


@pytest.mark.parametrize("output", ["dense", "tokens", "both"])
@pytest.mark.parametrize("spec", ["texts:32", "pages:56x84", "3texts:32+1pages:56x84"])
def test_a_stream_is_measured(fake, spec, output):
    """As many items as asked for, and the tokens that those have."""
    found = measure(fake, parse_workload(spec), Conditions(items=8, warmup=4, output=output))
    assert (found.latency, found.share_of_limit, found.gpu_memory_mib) == (None, None, None)
    assert found.items >= 8
    tokens_each = {"texts:32": 32, "pages:56x84": 35, "3texts:32+1pages:56x84": (3 * 32 + 35) / 4}[spec]
    page = fake.embed_tokens([Supply(fake, parse_mixture("pages:56x84"), FEW).take(1)[0][0]], role="document")[0]
    assert len(page.token_ids) == 35
    assert found.tokens_per_second / found.items_per_second == pytest.approx(tokens_each, rel=0.05)
    assert found.items_per_second == pytest.approx(found.items / found.seconds)
    assert found.items_made_late == 0


def test_results_that_come_in_bursts_are_counted_by_whole_bursts(monkeypatch):
    """White box: of ten results a second, all at once, any number makes ten a second."""
    now = [0.0]
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: now[0])

    def results():
        for number in count():
            now[0] += number % 10 == 7
            yield Work(1, 5)

    for n_items in (1, 9, 10, 11, 35):
        counted = clocks._counted(results(), Conditions(items=n_items), longest_burst=64)
        assert (counted.each_second.items, counted.each_second.tokens) == (10, 50)
        assert counted.total.items >= n_items


def test_calls_are_measured(fake):
    """Each caller's calls count, and the percentiles are in order."""
    found = measure(fake, Calls(parse_mixture("texts:32"), batch_size=4, concurrency=3), Conditions(items=24, warmup=4))
    assert found.latency.calls >= 6
    assert found.items == 4 * found.latency.calls
    assert 0 < found.latency.p50 <= found.latency.p95 <= found.latency.p99
    # One caller does a batch in the mean latency; three do at least a batch in the longest.
    assert found.items_per_second > 4 / (found.latency.p99 / 1000)


def test_seconds_end_a_measurement(fake):
    """Without a number of items, time decides; what it needs beyond the estimate is made on the way."""
    found = measure(fake, parse_workload("texts:16"), Conditions(seconds=0.05, warmup=2))
    assert found.seconds >= 0.05
    assert found.items >= 1


def test_queries_beside_a_stream(fake):
    """The speed is the stream's, the latency the queries', with the prefix of queries."""
    embedded = []
    embed = fake.embed
    with mock.patch.object(
        fake, "embed", lambda items, *, role: embedded.append((role, items)) or embed(items, role=role)
    ):
        found = measure(fake, parse_workload("queries-beside:pages:56x84"), FEW)
    assert found.items >= 4
    assert found.tokens_per_second / found.items_per_second == pytest.approx(35)
    assert found.latency.calls >= 1
    queries = [items for role, items in embedded if role == "query"]
    assert len(queries) == found.latency.calls + 1  # a warm call comes first
    assert text_lengths(fake, [text for items in queries for text in items], "query") == {16}


def test_an_engine_that_fails_ends_the_measurement(fake):
    """The error of any caller is the measurement's."""
    fake.engine.close()
    for workload in (Calls(parse_mixture("texts:32"), concurrency=2), parse_workload("queries-beside:texts:32")):
        with pytest.raises(EngineClosedError):
            measure(fake, workload, FEW)


def test_the_share_of_the_limit(vllm_engine):
    """A real engine's speed, in operations by the checkpoint's sizes, over the peak that was given."""
    encoder = JinaEncoder(vllm_engine, task="retrieval")
    geometry = Geometry.read(vllm_engine.checkpoint)
    conditions = Conditions(items=8, warmup=2, peak_tflops=0.5, output="both")
    for workload, operations in (
        (parse_workload("texts:64"), geometry.text_operations(64)),
        (Calls(parse_mixture("pages:112x168"), batch_size=2, concurrency=2), None),
    ):
        found = measure(encoder, workload, conditions)
        assert found.items >= 8
        if operations is not None:
            assert found.share_of_limit == pytest.approx(found.items_per_second * operations / 0.5e12)
        assert found.share_of_limit > 0
    # 24 cells, and the words around them.
    (page,) = encoder.embed_tokens(Supply(encoder, parse_mixture("pages:112x168"), FEW).take(1)[0], role="document")
    assert page.grid == (6, 4)
    assert found.tokens_per_second / found.items_per_second == pytest.approx(len(page.token_ids))


def test_memory_counts_this_process_and_its_children(tmp_path, monkeypatch):
    """A child's child counts, others do not, and where the system keeps quiet there is no figure."""

    def process(number, parent, kib):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "stat").write_text(f"{number} (a (strange) name) S {parent} 0 0")
        if kib is not None:
            (folder / "smaps_rollup").write_text(f"Rss: 999999 kB\nPss:    {kib} kB\nPss_Dirty: 5 kB\n")

    monkeypatch.setattr(memory, "_PROC", tmp_path)
    monkeypatch.setattr(memory.os, "getpid", lambda: 10)
    for number, parent, kib in ((10, 1, 1024), (11, 10, 2048), (12, 11, 512), (13, 1, 4096), (14, 10, None)):
        process(number, parent, kib)
    with memory.PeakMemory() as seen:
        pass
    assert seen.mib == 3.5
    monkeypatch.setattr(memory, "_pss_kib", mock.Mock(side_effect=PermissionError))
    with memory.PeakMemory() as seen:
        pass
    assert seen.mib is None


def test_the_device(monkeypatch, tmp_path):
    """The driver's program names the GPUs that are visible; a peak that is given is not measured."""
    assert find_device().name == "CPU"
    assert find_device() == Device(name="CPU", cores=find_device().cores, peak_tflops=None, peak_source=None)
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\ncase "$*" in\n  *name*--id=0,1) echo "GPU A"; echo "GPU B";;\n'
        "  *memory.used*--id=0,1) echo 1000; echo 24;;\n  *) exit 9;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(devices.shutil, "which", lambda _: str(program))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    device = find_device(790)
    assert (device.name, device.peak_tflops, device.peak_source) == ("GPU A, GPU B", 790, "given")
    assert devices.gpu_memory_mib() == 1024
    monkeypatch.setattr(devices.sys, "executable", "/bin/false")
    with pytest.raises(OptionError, match=r"could not be measured: exit status 1\. Give it"):
        find_device()
    monkeypatch.setattr(devices, "_peak_in_child", lambda: 700.0)
    assert (find_device().peak_tflops, find_device().peak_source) == (700, "measured")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.gpu_memory_mib() is None


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (0.001234, "0.00123"),
        (9.996, "10.0"),
        (33.46, "33.5"),
        (999.6, "1,000"),
        (99432, "99,400"),
    ],
)
def test_numbers_have_three_digits(number, shown):
    """Without exponents, which nobody compares at a glance."""
    assert short(number) == shown


def test_the_standard_table(bench, capsys):
    """Without a workload: a text and 16, a page and 8, and 4 of each, aligned."""
    assert bench() == 0
    device, blank, header, *rows = capsys.readouterr().out.splitlines()
    assert device.startswith("CPU, ")
    assert not blank
    assert header.endswith("items/s  tokens/s    p50 ms    p95 ms    p99 ms  of limit  host MiB   GPU MiB")
    labels = [row.split("  ")[0] for row in rows]
    assert labels == [
        "texts:128, batch 1",
        "texts:128, batch 16",
        "pages:784x768, batch 1",
        "pages:784x768, batch 8",
        "4texts:128+4pages:784x768, batch 8",
    ]
    assert len({len(row) for row in [header, *rows]}) == 1
    assert all(row.split()[-1] == "-" for row in rows)


def test_workloads_of_ones_own_and_a_file(bench, tmp_path, capsys, monkeypatch):
    """Every figure is in the file, with what it depends on."""
    monkeypatch.setattr(sys, "argv", ["jina-vllm", "bench", "--workload", "texts:32"])
    file = tmp_path / "speed.json"
    options = ["--engine-option", "max_num_seqs=7", "--output", "both", "--json", str(file)]
    assert bench("--workload", "texts:32", "--workload", "queries-beside:pages:56x84", *options) == 0
    out = capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written["command"] == "jina-vllm bench --workload texts:32"
    assert (written["model"], written["task"], written["engine_options"]) == ("m", "retrieval", {"max_num_seqs": 7})
    assert written["device"]["name"] == "CPU"
    assert written["conditions"].items() >= {"items": 2, "output": "both", "role": "document"}.items()
    assert written["versions"].keys() >= {"python", "numpy", "jina-vllm-integrations"}
    texts, queries = written["measurements"]
    assert (texts["workload"], texts["latency"]) == ("texts:32, stream", None)
    assert queries["latency"]["p50"] > 0
    assert f"{short(queries['items_per_second'])}" in out
    assert bench("--json", str(file)) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "text:9"], "got 'text:9'"),
        (["--batch-size", "2"], "--batch-size is for a --workload"),
        (["--workload", "texts:64", "--batch-size", "0"], "batch_size must be"),
        (["--workload", "queries-beside:texts:64", "--concurrency", "2"], "Leave batch size and concurrency out"),
        (["--workload", "texts:9000"], "up to 4096 tokens"),
        (["--peak-tflops", "-1"], "peak_tflops must be"),
        (["--peak-tflops", "1"], "config.json"),  # which a fake engine has not
    ],
)
def test_what_cannot_be_measured_is_told_before_any_work(bench, capsys, arguments, message):
    """One line that says what to do, and no table."""
    assert bench(*arguments) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_running_vllm_is_measured(vllm_engine, checkpoint, monkeypatch, capsys):
    """The command works on a real engine, and shows the share of a peak that was given."""
    monkeypatch.setattr(vllm_runtime.VLLMRuntime, "_start", lambda *_: pytest.fail("a vLLM was started"))
    options = [f"--engine-option={name}={json.dumps(value)}" for name, value in ENGINE_OPTIONS.items()]
    arguments = ["--workload", "2texts:48+1pages:112x112", "--items", "6", "--warmup", "3", "--peak-tflops", "1"]
    assert main(["bench", "--model", str(checkpoint), *arguments, *options]) == 0
    device, _, _, row = capsys.readouterr().out.splitlines()
    assert "1.00 TFLOP/s (given)" in device
    assert row.split()[-3].endswith("%")


def test_help(monkeypatch, capsys):
    """The command explains its workloads, with examples, within a terminal's width."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "--help"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert all(name in out for name in ("texts:TOKENS", "pages:WIDTHxHEIGHT", "queries-beside:", "--json FILE"))

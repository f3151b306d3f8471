"""vLLM's options on machines that the tests do not run on: a GPU, an older vLLM."""

from __future__ import annotations

import importlib
import os
from dataclasses import field, make_dataclass
from types import SimpleNamespace

import pytest

from jina_vllm_integrations.engines.forking import spare_cuda
from jina_vllm_integrations.engines.vllm_options import full_options
from jina_vllm_integrations.model.checkpoints import Checkpoint


@pytest.fixture(scope="module")
def facts(checkpoint):
    """Return the facts of the session's checkpoint."""
    return Checkpoint.read(str(checkpoint))


@pytest.fixture
def options_of(facts):
    """Return a maker of the options that vLLM is started with."""

    def options_of(*, pooling="engine", data_parallel=1, max_model_len=2048, **options):
        return full_options(facts, options, max_model_len=max_model_len, pooling=pooling, data_parallel=data_parallel)

    return options_of


@pytest.fixture
def on_cuda(monkeypatch):
    """Let vLLM believe that there is a GPU, once it is imported."""
    importlib.import_module("vllm.engine.arg_utils")
    monkeypatch.setattr("vllm.platforms.current_platform", SimpleNamespace(is_cuda=lambda: True))


@pytest.fixture
def older_vllm(monkeypatch):
    """Let vLLM be one whose own model does not normalise pixels."""
    names = ("model", "mm_processor_kwargs", "max_model_len")
    arguments = make_dataclass("AsyncEngineArgs", [(name, object, field(default=None)) for name in names])
    monkeypatch.setattr("vllm.AsyncEngineArgs", arguments)


@pytest.mark.usefixtures("on_cuda")
def test_a_gpu_is_kept_busy_and_the_vision_encoder_compiled(options_of):
    """What pays on a GPU is on by default."""
    options = options_of()
    assert options["async_scheduling"] is True
    assert options["compilation_config"] == {"compile_mm_encoder": True}
    assert options["max_num_batched_tokens"] == 8192


@pytest.mark.parametrize(
    ("given", "backend"),
    [
        ({}, "uni"),
        ({"tensor_parallel_size": 1, "pipeline_parallel_size": None}, "uni"),
        ({"tensor_parallel_size": 2}, None),
        ({"pipeline_parallel_size": 2}, None),
        ({"data_parallel_backend": "ray"}, None),
    ],
)
def test_each_of_several_engines_computes_in_one_process(options_of, given, backend):
    """As one alone does, unless it has several GPUs itself, or the caller says otherwise."""
    options = options_of(data_parallel=4, **given)
    assert options["data_parallel_size"] == 4
    assert options.get("distributed_executor_backend") == backend
    own = options_of(data_parallel=4, distributed_executor_backend="mp")
    assert own["distributed_executor_backend"] == "mp"
    assert "distributed_executor_backend" not in options_of()


@pytest.mark.usefixtures("on_cuda")
def test_who_asks_for_eager_gets_it(options_of):
    """Nothing is compiled with ``enforce_eager``."""
    options = options_of(enforce_eager=True)
    assert "compilation_config" not in options
    assert options["async_scheduling"] is True
    assert options["enforce_eager"] is True


@pytest.mark.usefixtures("on_cuda")
def test_the_callers_options_replace_the_defaults(options_of):
    """On a GPU as anywhere else."""
    compilation = {"compile_mm_encoder": False, "mode": 0}
    own = {"async_scheduling": False, "compilation_config": compilation, "max_num_seqs": 7, "mm_processor_cache_gb": 1}
    options = options_of(**own)
    assert {name: options[name] for name in own} == own


@pytest.mark.usefixtures("on_cuda")
def test_the_vision_encoder_is_compiled_beside_what_the_caller_chose(options_of):
    """Another choice about compilation does not turn it off; one in another form is passed on as it is."""
    options = options_of(compilation_config={"cudagraph_capture_sizes": [8]})
    assert options["compilation_config"] == {"compile_mm_encoder": True, "cudagraph_capture_sizes": [8]}
    assert options_of(compilation_config=3)["compilation_config"] == 3


@pytest.mark.usefixtures("on_cuda")
def test_executors_that_refuse_asynchronous_scheduling_are_not_asked_for_it(options_of):
    """Ray's would not start."""
    assert "async_scheduling" not in options_of(distributed_executor_backend="ray")
    assert options_of(distributed_executor_backend="mp")["async_scheduling"] is True


def test_without_chunks_a_batch_takes_the_longest_prompt(options_of):
    """VLLM refuses smaller batches."""
    assert options_of(enable_chunked_prefill=False, max_model_len=30000)["max_num_batched_tokens"] == 30000
    assert options_of(max_model_len=30000)["max_num_batched_tokens"] == 2048


def test_a_cpu_is_left_to_vllm(options_of):
    """Elsewhere neither is set."""
    assert not {"async_scheduling", "compilation_config"} & options_of().keys()


@pytest.mark.usefixtures("older_vllm")
@pytest.mark.parametrize("own", [None, {}, {"max_pixels": 5000}, {"max_pixels": 5000, "do_rescale": True}])
def test_an_older_vllm_is_asked_for_raw_pixels(options_of, own):
    """Our model normalises them; what else the caller told the image processor stays."""
    options = options_of(mm_processor_kwargs=own)
    kept = {name: value for name, value in (own or {}).items() if name == "max_pixels"}
    assert options["mm_processor_kwargs"] == {**kept, "do_rescale": False, "do_normalize": False}


@pytest.mark.usefixtures("older_vllm")
def test_stock_vllm_gets_normalised_pixels(options_of):
    """Where the client pools, the model is vLLM's own and normalises nothing below 0.29."""
    assert "mm_processor_kwargs" not in options_of(pooling="client")


def test_a_vllm_that_normalises_itself_is_told_nothing(options_of):
    """From 0.29 the pixels are vLLM's business, and the caller's options are passed on as they are."""
    assert "mm_processor_kwargs" not in options_of()
    assert options_of(mm_processor_kwargs={"max_pixels": 5000})["mm_processor_kwargs"] == {"max_pixels": 5000}


def test_one_gpu_is_no_data_parallelism(options_of):
    """The size is passed on only where it says something."""
    assert "data_parallel_size" not in options_of()
    assert options_of(data_parallel=2)["data_parallel_size"] == 2


@pytest.mark.parametrize("is_lost", [True, False])
@pytest.mark.usefixtures("on_cuda")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_are_spawned_where_a_fork_has_no_cuda(monkeypatch, caplog, is_lost):
    """A script that asked torch for a GPU before is told so, and served; others keep the faster way."""
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    monkeypatch.setattr("torch.cuda._is_in_bad_fork", lambda: is_lost)
    spare_cuda()
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == ("spawn" if is_lost else "fork")
    assert ("To avoid it, import vllm first." in caplog.text) == is_lost

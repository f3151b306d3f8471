"""The published base repository: one model, one projector, adapters for each task. What vLLM serves is made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import CheckpointError, OptionError
from jina_vllm_integrations.model.checkpoints import MODEL_TYPE, Checkpoint
from jina_vllm_integrations.model.files import locate, read_json
from jina_vllm_integrations.preparation.tensor_files import FLOATS, StoredTensor, read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROJECTOR = "multi_vector_projector"
LINEARS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
ADAPTER_CONFIG = "adapters/adapter_config.json"
ADAPTER_WEIGHTS = "adapters/adapter_model.safetensors"
# What a processor and a tokenizer are read from. Code is never taken.
PROCESSOR_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
)
_CONFIG = "config.json"
_INDEX = "model.safetensors.index.json"
_WEIGHTS = "model*.safetensors"
_MATRIX = 2
# Where the language model's layers are, in each style that transformers has written, alone or inside another class.
_LAYER = re.compile(r"(?P<wrapper>(?:.+\.)??)(?P<model>model\.(?:language_model\.)?)layers\.\d+\.")
# What vLLM's own Qwen2.5-VL takes, and the projector.
_KNOWN = ("model.", "visual.", "lm_head.", f"{PROJECTOR}.")


@dataclass(frozen=True, kw_only=True)
class BaseRepo:
    """The base repository's files, read as far as their headers.

    Attributes:
        name: The hub id, or the directory's own name.
        commit: On the hub; ``None`` for a directory.
        path: The local directory.
        config: Its ``config.json``.
        checkpoint: The facts in it.
        layers: Of the language model, as the config says.
        tensors: The weights by the names that vLLM knows.
        index_problems: Where the index and the weight files differ.
    """

    name: str
    commit: str | None
    path: Path
    config: dict[str, Any]
    checkpoint: Checkpoint
    layers: int
    tensors: dict[str, StoredTensor]
    index_problems: list[str]

    @classmethod
    def read(cls, src: str | Path, *, revision: str | None = None) -> BaseRepo:
        """Read a base repository. No weights are read, and nothing is compared with what the config says.

        Args:
            src: A local directory, or a hub id whose files are fetched into the hub's cache.
            revision: Branch, tag or commit on the hub.

        Raises:
            CheckpointError: There is no such repository, or it lacks files, or one of them is damaged.
            OptionError: A revision of a local directory.
        """
        local = Path(src).is_dir()
        if local and revision is not None:
            raise OptionError(f"a revision is one on the hub, and {str(src)!r} is a directory. Leave revision out.")
        wanted = (_CONFIG, _INDEX, _WEIGHTS, ADAPTER_CONFIG, ADAPTER_WEIGHTS, *PROCESSOR_FILES)
        path = locate(str(src), wanted, revision=revision)
        checkpoint = Checkpoint.read(path, overrides={"model_type": MODEL_TYPE})
        config = read_json(path / _CONFIG)
        tensors, index_problems = _read_weights(path)
        return cls(
            name=path.resolve().name if local else str(src),
            commit=None if local else path.name,
            path=path,
            config=config,
            checkpoint=checkpoint,
            layers=_layers(config, path),
            tensors=_as_vllm_names(tensors),
            index_problems=index_problems,
        )

    @property
    def files(self) -> list[str]:
        """The files that a prepared directory depends on, relative to `path`."""
        weights = {tensor.path.name for tensor in self.tensors.values()}
        processor = (name for name in PROCESSOR_FILES if (self.path / name).is_file())
        return sorted({_CONFIG, ADAPTER_CONFIG, ADAPTER_WEIGHTS, *weights, *processor})

    @cached_property
    def modules(self) -> dict[str, str]:
        """What the adapters adapt: name of the weight -> ``layers.N.….x_proj``, and the projector."""
        _, model = _prefixes(self.tensors)
        names = [f"layers.{layer}.{linear}" for layer in range(self.layers) for linear in LINEARS]
        return {f"{model}{name}.weight": name for name in names} | {f"{PROJECTOR}.weight": PROJECTOR}

    @cached_property
    def adapted(self) -> dict[str, StoredTensor]:
        """The matrices that the adapters adapt, by module, as far as they are there."""
        found = {module: self.tensors[name] for name, module in self.modules.items() if name in self.tensors}
        return {module: tensor for module, tensor in found.items() if len(tensor.shape) == _MATRIX}

    def problems(self) -> Iterator[str]:
        """Say what is missing, unexpected or of the wrong shape among the weights."""
        yield from self.index_problems
        yield from (f"{name} is unexpected" for name in self.tensors if not name.startswith(_KNOWN))
        for name, module in self.modules.items():
            if name not in self.tensors:
                yield f"{name} is missing"
            elif self.tensors[name].dtype not in FLOATS:
                yield f"{name} is stored as {self.tensors[name].dtype}, not as one of {', '.join(FLOATS)}"
            elif module not in self.adapted:
                yield f"{name} has the shape {self.tensors[name].shape}, which is no matrix"
        yield from self._projector_problems()

    def _projector_problems(self) -> Iterator[str]:
        hidden_size = self.checkpoint.hidden_size
        weight, bias = self.adapted.get(PROJECTOR), self.tensors.get(f"{PROJECTOR}.bias")
        if weight is not None and weight.shape[1] != hidden_size:
            yield f"{PROJECTOR}.weight has the shape {weight.shape}, not ({weight.shape[0]}, {hidden_size})"
        if bias is None:
            yield f"{PROJECTOR}.bias is missing"
        elif weight is not None and bias.shape != weight.shape[:1]:
            yield f"{PROJECTOR}.bias has the shape {bias.shape}, not {weight.shape[:1]}"


def _read_weights(path: Path) -> tuple[dict[str, StoredTensor], list[str]]:
    """Return the weights by the names in their files, and where an index says otherwise."""
    index: dict[str, str] | None = None
    if (path / _INDEX).is_file():
        index = read_json(path / _INDEX).get("weight_map", {})
    names = ["model.safetensors"] if index is None else sorted(set(index.values()))
    present = {file.name for file in path.glob(_WEIGHTS)}
    present |= {name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if (path / name).is_file()}
    missing = [name for name in (*names, ADAPTER_CONFIG, ADAPTER_WEIGHTS) if name not in present]
    if missing:
        raise CheckpointError(
            f"a base repository such as jinaai/jina-embeddings-v4 has weights and adapters; {str(path)!r} lacks "
            f"{', '.join(missing)}. Fetch them, or name another directory."
        )
    tensors: dict[str, StoredTensor] = {}
    problems = []
    for name in names:
        found = read_tensors(path / name)
        twice = found.keys() & tensors.keys()
        problems += [f"{tensor} is in {tensors[tensor].path.name} and in {name}" for tensor in twice]
        tensors |= found
    if index is not None:
        homes = {name: tensor.path.name for name, tensor in tensors.items()}
        problems += [f"{name} is not in {home}, as the index says" for name, home in index.items() - homes.items()]
        problems += [f"{name} is in {home}, as no index says" for name, home in homes.items() - index.items()]
    return tensors, sorted(problems)


def _prefixes(names: Iterable[str]) -> tuple[str, str]:
    """Return what a class around the model put before the names, and what stands before ``layers.``."""
    match = next(filter(None, map(_LAYER.match, names)), None)
    return (match["wrapper"], match["model"]) if match else ("", "model.")


def _as_vllm_names(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    wrapper, _ = _prefixes(tensors)
    return {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}


def _layers(config: dict[str, Any], path: Path) -> int:
    try:
        return int(config.get("text_config", config)["num_hidden_layers"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged: config.json lacks {error}. Fetch it again.") from error

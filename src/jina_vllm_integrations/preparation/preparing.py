"""The base repository made into a directory that vLLM serves."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
from safetensors.numpy import save_file
from tqdm import tqdm

from jina_vllm_integrations import __version__
from jina_vllm_integrations.errors import CheckpointError, OptionError
from jina_vllm_integrations.model.checkpoints import MODEL_TYPE
from jina_vllm_integrations.model.files import read_json, write_json
from jina_vllm_integrations.model.projectors import PROJECTOR_FILE
from jina_vllm_integrations.preparation.base_repo import PROCESSOR_FILES, PROJECTOR, BaseRepo
from jina_vllm_integrations.preparation.task_adapters import TASKS, TaskAdapters
from jina_vllm_integrations.preparation.tensor_files import write_tensors
from jina_vllm_integrations.preparation.whole_directory import only_run, whole_directory
from jina_vllm_integrations.vllm_plugin import ARCHITECTURE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jina_vllm_integrations.preparation.tensor_files import Tensor
    from jina_vllm_integrations.types import Task

MANIFEST = "manifest.json"
# Counts up when equal sources would give another directory.
_FORMAT = 1
_MOST_PROBLEMS = 20


def prepare(
    src: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    task: Task | None = None,
    all_tasks: bool = False,
    revision: str | None = None,
    progress: bool = False,
) -> Path:
    """Make a directory that vLLM serves of the base repository ``jinaai/jina-embeddings-v4``.

    For one task its adapter is merged into the weights. For all tasks the weights stay as they are,
    and ``adapters/TASK`` holds each task's adapter for vLLM's LoRA. The multi-vector projectors are
    merged either way and stand in ``multi_vector/projectors.safetensors`` as ``TASK.weight`` and
    ``TASK.bias``. ``manifest.json`` says what the directory was made of.

    The directory appears whole or not at all. Where an equal one is already there, nothing is done;
    where another run is making it, this one waits.

    Args:
        src: The base repository: a local directory, or a hub id.
        out: The directory to make.
        task: What its vectors are for.
        all_tasks: Instead of `task`: one directory for all of them.
        revision: Branch, tag or commit on the hub.
        progress: Whether to show a bar.

    Returns:
        `out`.

    Raises:
        OptionError: Not exactly one of `task` and `all_tasks`, an unknown task, or a revision of a
            local directory.
        CheckpointError: `src` is not such a repository, or is damaged; or `out` is there and is
            something else.
    """
    tasks = _tasks(task, all_tasks=all_tasks)
    out = Path(out)
    repo = BaseRepo.read(os.fspath(src), revision=revision)
    adapters = TaskAdapters.read(repo.path)
    _require_sound(repo, adapters)
    identity = _identity(repo, tasks, progress=progress)
    if _is_there(out, identity):
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with only_run(out):
        if not _is_there(out, identity):  # the run before may have made it
            with whole_directory(out) as unfinished:
                _write(unfinished, repo, adapters, tasks, progress=progress)
                _write_manifest(unfinished, identity, repo)
    return out


def _tasks(task: Task | None, *, all_tasks: bool) -> Sequence[Task]:
    if (task is not None) == all_tasks:
        raise OptionError(f"one of task and all_tasks must be given, got task={task!r} and all_tasks={all_tasks!r}.")
    if task is None:
        return TASKS
    if task not in TASKS:
        raise OptionError(f"task must be one of {', '.join(TASKS)}, got {task!r}.")
    return (task,)


def _require_sound(repo: BaseRepo, adapters: TaskAdapters) -> None:
    problems = [*repo.problems(), *adapters.problems(repo.adapted)]
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"and {len(problems) - _MOST_PROBLEMS} more"]
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise CheckpointError(
            f"{str(repo.path)!r} is not laid out as jinaai/jina-embeddings-v4, or is damaged. Fetch it again.{listed}"
        )


def _identity(repo: BaseRepo, tasks: Sequence[Task], *, progress: bool) -> dict[str, Any]:
    """Return what makes two prepared directories equal."""
    digests = {}
    for name in tqdm(repo.files, desc="reading", unit="file", disable=not progress):
        with (repo.path / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"format": _FORMAT, "tasks": list(tasks), "sha256": digests}


def _is_there(out: Path, identity: Mapping[str, Any]) -> bool:
    """Whether an equal directory is there; anything else in its place is an error."""
    if not os.path.lexists(out):
        return False
    try:
        found = read_json(out / MANIFEST)
    except CheckpointError as error:
        raise CheckpointError(
            f"{str(out)!r} exists and is not a prepared directory. Choose another directory, or remove it."
        ) from error
    differing = [name for name, value in identity.items() if found.get(name) != value]
    if differing:
        raise CheckpointError(
            f"{str(out)!r} exists and differs in {', '.join(differing)} from what would be prepared. "
            "Choose another directory, or remove it."
        )
    lost = [name for name, size in found["sizes"].items() if not _has_size(out / name, size)]
    if lost:
        raise CheckpointError(f"{str(out)!r} is damaged: {', '.join(lost)}. Remove it, and prepare it again.")
    return True


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _write(out: Path, repo: BaseRepo, adapters: TaskAdapters, tasks: Sequence[Task], *, progress: bool) -> None:
    shards = _shards(repo, adapters, tasks)
    size = sum(tensor.nbytes for tensors in shards.values() for tensor in tensors.values())
    with tqdm(total=size, desc="writing", unit="B", unit_scale=True, disable=not progress) as bar:
        for name, tensors in shards.items():
            write_tensors(out / name, tensors, written=bar.update)
    homes = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    write_json(out / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": homes})
    _write_projectors(out, repo, adapters, tasks)
    if len(tasks) > 1:
        for task in tasks:
            adapters.write_peft(out / "adapters" / task, task)
    write_json(out / "config.json", _config(repo, tasks))
    for name in PROCESSOR_FILES:
        if (repo.path / name).is_file():
            _copy(repo.path / name, out / name)


def _shards(repo: BaseRepo, adapters: TaskAdapters, tasks: Sequence[Task]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each weight file, in the files that the repository has them in."""
    shards: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in repo.tensors.items():
        shard = shards[tensor.path.name]
        module = repo.modules.get(name)
        if name.startswith(f"{PROJECTOR}."):
            continue
        if module is not None and len(tasks) == 1:
            shard[name] = adapters.merge(tensor, module, tasks[0])
        else:
            shard[name] = tensor
    return shards


def _write_projectors(out: Path, repo: BaseRepo, adapters: TaskAdapters, tasks: Sequence[Task]) -> None:
    """Write each task's multi-vector head in float32; it is small, and merged exactly."""
    weight, bias = repo.adapted[PROJECTOR], repo.tensors[f"{PROJECTOR}.bias"]
    tensors = {}
    for task in tasks:
        tensors[f"{task}.weight"] = adapters.merge(weight, PROJECTOR, task).float32()
        tensors[f"{task}.bias"] = bias.float32()
    (out / PROJECTOR_FILE).parent.mkdir()
    save_file(tensors, out / PROJECTOR_FILE)


def _config(repo: BaseRepo, tasks: Sequence[Task]) -> dict[str, Any]:
    config = {name: value for name, value in repo.config.items() if name != "auto_map"}
    # vLLM reads the Matryoshka sizes under another key than Jina's.
    sizes = config.get("matryoshka_dims") or config.get("matryoshka_dimensions")
    return {
        **config,
        "architectures": [ARCHITECTURE],
        "model_type": MODEL_TYPE,
        **({"matryoshka_dimensions": sizes} if sizes else {}),
        "jina_tasks": list(tasks),
        "multi_vector_dim": repo.adapted[PROJECTOR].shape[0],
    }


def _copy(source: Path, target: Path) -> None:
    """Copy a file, without a reference to the code that is left behind."""
    if source.name.endswith("_config.json"):
        write_json(target, {name: value for name, value in read_json(source).items() if name != "auto_map"})
    else:
        shutil.copyfile(source, target)


def _write_manifest(out: Path, identity: Mapping[str, Any], repo: BaseRepo) -> None:
    sizes = {str(path.relative_to(out)): path.stat().st_size for path in sorted(out.rglob("*")) if path.is_file()}
    manifest = {
        **identity,
        "source": {"name": repo.name, "commit": repo.commit},
        "versions": {"jina-vllm-integrations": __version__, "safetensors": safetensors.__version__},
        "sizes": sizes,
    }
    write_json(out / MANIFEST, manifest)

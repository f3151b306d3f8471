"""The stages of a search as runs of LangChain's, which tracers show with their times."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import ensure_config, patch_config, var_child_runnable_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, Callbacks
    from langchain_core.callbacks.base import BaseCallbackManager
    from langchain_core.documents import Document

    from jina_vllm_integrations.adapters.found import Placed


@dataclass(kw_only=True)
class Stage:
    """One that is under way.

    Attributes:
        outputs: What its run ends with: ids, scores and numbers, no contents.
    """

    outputs: dict[str, Any] = field(default_factory=dict)


@contextmanager
def stage(manager: CallbackManager, name: str, inputs: Callable[[], dict[str, Any]]) -> Iterator[Stage]:
    """Tell of a stage, as a chain's run, when it begins and when it ends, also with an error.

    What runs within, such as a store's own runnables, are its children.

    Args:
        manager: Whom to tell. If there is nobody, this costs nothing.
        name: The run's.
        inputs: What it begins with; called if there is somebody to tell.
    """
    under_way = Stage()
    if not manager.handlers:
        yield under_way
        return
    run = manager.on_chain_start(None, inputs(), name=name)
    try:
        with _parent_of_what_runs(run.get_child()):
            yield under_way
    except BaseException as error:
        run.on_chain_error(error)
        raise
    run.on_chain_end(under_way.outputs)


@asynccontextmanager
async def astage(
    manager: AsyncCallbackManager, name: str, inputs: Callable[[], dict[str, Any]]
) -> AsyncIterator[Stage]:
    """Do as `stage`, in an event loop."""
    under_way = Stage()
    if not manager.handlers:
        yield under_way
        return
    run = await manager.on_chain_start(None, inputs(), name=name)
    try:
        with _parent_of_what_runs(run.get_child()):
            yield under_way
    except BaseException as error:
        await run.on_chain_error(error)
        raise
    await run.on_chain_end(under_way.outputs)


def callbacks_of(given: Callbacks) -> Callbacks:
    """Return those that a call was given, or else those of the runnable that calls."""
    return ensure_config().get("callbacks") if given is None else given


def ids(documents: Sequence[Document]) -> list[str | None]:
    """Return what runs call documents."""
    return [document.id for document in documents]


def ranked_ids(documents: Sequence[Document], ranked: Sequence[Placed]) -> dict[str, Any]:
    """Return what the run of a rank stage ends with: ids and scores, the best first, ``None`` for no score."""
    return {"ranked": [{"id": documents[each.index].id, "score": each.score} for each in ranked]}


@contextmanager
def _parent_of_what_runs(child: BaseCallbackManager) -> Iterator[None]:
    token = var_child_runnable_config.set(patch_config(ensure_config(), callbacks=child))
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)

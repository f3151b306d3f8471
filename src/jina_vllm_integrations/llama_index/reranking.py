"""Nodes ranked by late interaction, for LlamaIndex."""

# Pydantic reads the annotations of this module, so they are not postponed.
import asyncio
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import ConfigDict, Field

from jina_vllm_integrations.adapters.found import Placed
from jina_vllm_integrations.adapters.late_interaction import LateInteraction
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.llama_index.queries import query_bundle as asked
from jina_vllm_integrations.llama_index.queries import query_item
from jina_vllm_integrations.llama_index.rankables import (
    found_items,
    listed,
    names_of,
    noting_ids,
    with_score,
)
from jina_vllm_integrations.llama_index.rerank_events import Reranking, reranking

if TYPE_CHECKING:
    from jina_vllm_integrations.errors import InputError
    from jina_vllm_integrations.token_store.keys import Known
    from jina_vllm_integrations.types import Item


class JinaVLLMRerank(LateInteraction, Closable, BaseNodePostprocessor):
    """Ranks nodes by MaxSim of their token vectors with a query's, texts and page images together.

    A node that holds an image, or whose metadata names one, is ranked by that image, any other by its text. Nodes come
    out of stores: one that cannot be ranked takes no other along, by ``on_found_error``. Strangers may have written
    them: a local image must be inside ``allowed_image_roots`` once links are followed, and a
    URL needs ``allow_image_urls``. An image inside the node needs nothing. The query may be an image, too, as
    ``QueryBundle(query_str="", image_path=...)``, or both with a ``query_str``: it is the caller's own, so the image is
    read wherever it is.

    Give it a ``store``: each node is then computed once, and later only the query.

    Making one starts nothing. May be used by many threads and coroutines at once. What decides how vectors are computed
    cannot be changed later; ``model_copy(update=...)`` makes another one. Copies share an engine and a store that were
    given; pickled it travels without an engine of its own, and not at all with what was given.

    Args:
        engine: The caller's, who closes it. Either this or ``model``.
        model: Whose engine to make when it is first needed, with a multi-vector head. Also ``model_name``.
        engine_options: Of the engine to make, as for `InProcessEngine`. ``to_dict`` leaves them out, as they may hold
            a token of the hub.
        store: Keeps the nodes' vectors. The caller opened it and closes it.
        task: As for `JinaEncoder`, like the following two.
        truncate: Cut nodes and queries that are too long, instead of raising.
        image_limits: What an image may cost.
        top_n: How many nodes to return at most; ``None`` for all.
        score_threshold: The least score to return.
        normalize: ``"mean"`` over the query's tokens, from -1 to 1 and comparable across queries, as a threshold
            needs; or their ``"sum"``, MaxSim as the literature has it. The order is the same.
        on_found_error: What to do about a node that cannot be ranked: its image's file is missing or must not be read,
            or its text is empty or too long. ``"skip"`` logs it once, by its id, and leaves it out; ``"last"`` puts it
            behind those that were ranked, with the score ``None``, where ``top_n`` leaves room and there
            is no ``score_threshold``; or ``"raise"``. An engine's errors always raise.
        metadata_mode: Which metadata is read with a node's text. What was embedded, as LlamaIndex's own rerankers do:
            both stages then judge the same text.
        keep_retrieval_score: Write the score with which a node came into its ``metadata["retrieval_score"]``. It is
            hidden from embeddings and language models, and no part of what is ranked.
        image_keys: Where metadata may name an image: a path, file URI, data URI or URL, as ``str``. The first that is
            there counts, and ``None`` and ``""`` as not there. `PageImageReader` writes ``"image_uri"``.
        allowed_image_roots: The folders whose files nodes may name; a relative path is one of the working folder.
        allow_image_urls: Fetch http and https URLs that nodes name, from public addresses only.

    Raises:
        ValidationError: Pydantic's, a ``ValueError``: a field or value that does not exist, neither or both of
            ``engine`` and ``model``, or ``engine_options`` with an engine.

    Example:
        >>> with TokenStore("vectors") as store:
        ...     reranker = JinaVLLMRerank(engine=engine, store=store, allowed_image_roots=(Path("scans"),))
        ...     reranker.postprocess_nodes(retriever.retrieve("total"), query_str="Where is the total?")
        [NodeWithScore(node=ImageNode(id_='7', ..., image_path='scans/1.png'), score=0.71), ...]
    """

    model_config = ConfigDict(validate_assignment=True)  # not frozen: query engines set the callback manager

    engine_options: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False, frozen=True)
    metadata_mode: MetadataMode = MetadataMode.EMBED
    keep_retrieval_score: bool = False

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises it."""
        return "JinaVLLMRerank"

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return the settings as JSON takes them, without what cannot leave the process."""
        return super().to_dict(**{"mode": "json", **options})

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Rank nodes.

        Args:
            nodes: Texts and images. They stay as they are.
            query_bundle: What is searched for: its ``query_str``, its ``image_path``, or both together as a
                `TextImageQuery`. Also what else `query_bundle` takes.

        Returns:
            Copies, the best first, of equals the earlier, each with its score as a ``float``.

        Raises:
            InputError: There is no query, or it cannot be embedded, ``index`` is ``None``; or by
                ``on_found_error="raise"`` a node cannot be, or its image must not be read: ``index`` is its position,
                and a note has its id.
            CheckpointError: The model cannot be served, or has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
            StoreError: The store cannot be read or written.
        """
        nodes = listed(nodes)
        query_bundle = None if query_bundle is None else asked(query_bundle)
        with self._told(nodes, query_bundle, self._model_name()) as call, noting_ids(nodes):
            query = query_item(query_bundle)
            candidates = self._candidates(nodes)
            ranked = self._rank(query, candidates, self.top_n, self._found_errors(), names_of(nodes))
            call.nodes = self._scored(nodes, ranked)
        return call.nodes

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Do as `_postprocess_nodes`, without blocking the event loop. Cancelling stops the work."""
        nodes = listed(nodes)
        query_bundle = None if query_bundle is None else asked(query_bundle)
        model_name = await asyncio.to_thread(self._model_name)
        with self._told(nodes, query_bundle, model_name) as call, noting_ids(nodes):
            query = query_item(query_bundle)
            candidates = await asyncio.to_thread(self._candidates, nodes)
            ranked = await self._arank(query, candidates, self.top_n, self._found_errors(), names_of(nodes))
            call.nodes = self._scored(nodes, ranked)
        return call.nodes

    def _told(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None, model_name: str
    ) -> AbstractContextManager[Reranking]:
        return reranking(
            nodes, query_bundle, top_n=self.top_n, model_name=model_name, callback_manager=self.callback_manager
        )

    def _model_name(self) -> str:
        """Return what traces call the model. May read the checkpoint's files."""
        return str(self.model) if self.engine is None else self.engine.checkpoint.model

    def _candidates(self, nodes: list[NodeWithScore]) -> "list[Item | Known | InputError]":
        """Return what each node is ranked by, or why there is nothing. Looks at the file system."""
        return found_items(nodes, self.page_images(), self.metadata_mode)

    def _scored(self, nodes: list[NodeWithScore], ranked: list[Placed]) -> list[NodeWithScore]:
        return [
            with_score(nodes[each.index], each.score, keep_retrieval_score=self.keep_retrieval_score) for each in ranked
        ]

"""Documents ranked by late interaction, for LangChain."""

# Pydantic reads the annotations of this module, so they are not postponed.
import asyncio
from collections.abc import Sequence
from types import EllipsisType
from typing import TypedDict

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field

from jina_vllm_integrations.adapters.found import FoundErrors, Placed
from jina_vllm_integrations.adapters.labels import label
from jina_vllm_integrations.adapters.late_interaction import LateInteraction
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.foundation.options import check_count
from jina_vllm_integrations.langchain.cross_encoders import JinaVLLMCrossEncoder
from jina_vllm_integrations.langchain.queries import LangChainQuery, query_item
from jina_vllm_integrations.langchain.rankables import (
    Rankable,
    found_items,
    items,
    listed,
    listed_documents,
    names_of,
    with_score,
)
from jina_vllm_integrations.langchain.stage_runs import astage, callbacks_of, ids, ranked_ids, stage
from jina_vllm_integrations.types import Item


class Relevance(TypedDict):
    """What Cohere's rerankers say of a document.

    Attributes:
        index: Its position in what was ranked.
        relevance_score: More is better.
    """

    index: int
    relevance_score: float


class JinaVLLMRerank(LateInteraction, Closable, BaseDocumentCompressor):
    """Ranks documents by MaxSim of their token vectors with a query's, texts and page images together.

    A document whose metadata names an image is ranked by that image, any other by its ``page_content``. What
    `compress_documents` is given was found by a store: a document that cannot be ranked takes none along, by
    ``on_found_error``. What `rerank` is given is the caller's own: there it is an error, which names it. Metadata may
    be a stranger's, so a local image must be inside ``allowed_image_roots`` once links are followed, and a URL needs
    ``allow_image_urls``.

    Give it a ``store``: each document is then computed once, and later only the query.

    Making one starts nothing. May be used by many threads and coroutines at once. The settings do not change;
    ``model_copy(update=...)`` makes another one. Copies share an engine and a store that were given; pickled it travels
    without an engine of its own, and not at all with what was given.

    Args:
        engine: The caller's, who closes it. Either this or ``model``.
        model: Whose engine to make when it is first needed, with a multi-vector head. Also ``model_name``.
        engine_options: Of the engine to make, as for `InProcessEngine`.
        store: Keeps the documents' vectors. The caller opened it and closes it.
        task: As for `JinaEncoder`, like the following two.
        truncate: Cut documents and queries that are too long, instead of raising.
        image_limits: What an image may cost.
        top_n: How many documents to return at most; ``None`` for all.
        score_threshold: The least score to return.
        normalize: ``"mean"`` over the query's tokens, from -1 to 1 and comparable across queries, as a threshold
            needs; or their ``"sum"``, MaxSim as the literature has it. The order is the same.
        on_found_error: What to do about a document that cannot be ranked: its image's file is missing or must not be
            read, or its text is empty or too long. ``"skip"`` logs it once, by its id, and leaves it out; ``"last"``
            puts it behind those that were ranked, without a score, where ``top_n`` leaves room and
            there is no ``score_threshold``; or ``"raise"``. An engine's errors always raise.
        score_key: Where the metadata of results has the score; ``None`` for nowhere, as for `JinaVLLMRetriever`.
        image_keys: Where metadata may name an image: a path, file URI, data URI or URL, as ``str``. The first that is
            there counts, and ``None`` and ``""`` as not there. `PageImageLoader` writes ``"image_uri"``.
        allowed_image_roots: The folders whose files metadata may name; a relative path is one of the working folder.
        allow_image_urls: Fetch http and https URLs that metadata names, from public addresses only.

    Raises:
        ValidationError: Pydantic's, a ``ValueError``: a field or value that does not exist, neither or both of
            ``engine`` and ``model``, or ``engine_options`` with an engine.

    Example:
        >>> with TokenStore("vectors") as store:
        ...     reranker = JinaVLLMRerank(engine=engine, store=store, allowed_image_roots=(Path("scans"),))
        ...     page = Document("", id="7", metadata={"image_uri": "scans/1.png"})
        ...     reranker.compress_documents([page, Document("a text")], "Where is the total?")
        [Document(id='7', metadata={'image_uri': 'scans/1.png', 'relevance_score': 0.71}, page_content=''), ...]
    """

    model_config = ConfigDict(frozen=True)

    score_key: str | None = Field(default="relevance_score", min_length=1)

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> list[Document]:
        """Rank documents.

        Args:
            documents: Texts and page images. They stay as they are.
            query: What is searched for, as `JinaVLLMRetriever.invoke` takes it.
            callbacks: Told of a run ``"JinaVLLMRerank"``; ``None`` for those of the runnable that calls.

        Returns:
            Copies, the best first, of equals the earlier: with their ids and metadata, and a score in it.

        Raises:
            InputError: The query cannot be embedded, ``index`` is ``None``; or by ``on_found_error="raise"`` a document
                cannot be, or its image must not be read: ``index`` is its position.
            CheckpointError: The model cannot be served, or has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
            StoreError: The store cannot be read or written.
        """
        documents = listed_documents(documents)
        errors, names = self._found_errors(), names_of(documents)
        item = query_item(query)
        manager = CallbackManager.configure(callbacks_of(callbacks))
        with stage(manager, _RUN, lambda: {"query": label(item), "ids": ids(documents)}) as told:
            candidates = found_items(documents, self.page_images())
            ranked = self._rank(item, candidates, self.top_n, errors, names)
            told.outputs = ranked_ids(documents, ranked)
        return _with_scores(documents, ranked, self.score_key)

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> list[Document]:
        """Do as `compress_documents`, without blocking the event loop. Cancelling stops the work."""
        documents = listed_documents(documents)
        errors, names = self._found_errors(), names_of(documents)
        item = query_item(query)
        manager = AsyncCallbackManager.configure(callbacks_of(callbacks))
        async with astage(manager, _RUN, lambda: {"query": label(item), "ids": ids(documents)}) as told:
            candidates = await asyncio.to_thread(found_items, documents, self.page_images())
            ranked = await self._arank(item, candidates, self.top_n, errors, names)
            told.outputs = ranked_ids(documents, ranked)
        return _with_scores(documents, ranked, self.score_key)

    def rerank(
        self, documents: Sequence[Rankable], query: LangChainQuery, *, top_n: int | EllipsisType | None = ...
    ) -> list[Relevance]:
        """Rank texts, documents and dicts, and return positions and scores.

        Args:
            documents: What is ranked. A ``str`` is always a text.
            query: What is searched for, as `JinaVLLMRetriever.invoke` takes it.
            top_n: How many to return at most; ``None`` for all, and left out the reranker's own.

        Returns:
            The best first; of equals, the earlier.

        Raises:
            OptionError: ``top_n`` is not a whole number from 1.
            InputError: A document cannot be embedded, or its image must not be read; ``index`` is its position, and
                ``None`` for the query.
            JinaVLLMError: What else `compress_documents` raises.
        """
        return _relevances(self._ranked(listed(documents), query, self._most(top_n)))

    async def arerank(
        self, documents: Sequence[Rankable], query: LangChainQuery, *, top_n: int | EllipsisType | None = ...
    ) -> list[Relevance]:
        """Do as `rerank`, without blocking the event loop. Cancelling stops the work."""
        return _relevances(await self._aranked(listed(documents), query, self._most(top_n)))

    def cross_encoder(self) -> JinaVLLMCrossEncoder:
        """Return a view for what takes a ``BaseCrossEncoder``, texts only. It shares the engine and the store."""
        return JinaVLLMCrossEncoder(self._late_interaction)

    def _ranked(self, documents: Sequence[Rankable], query: LangChainQuery, top_n: int | None) -> list[Placed]:
        return self._rank(query_item(query), self._candidates(documents), top_n, _STRICT, [])

    async def _aranked(self, documents: Sequence[Rankable], query: LangChainQuery, top_n: int | None) -> list[Placed]:
        candidates = await asyncio.to_thread(self._candidates, documents)
        return await self._arank(query_item(query), candidates, top_n, _STRICT, [])

    def _most(self, top_n: int | EllipsisType | None) -> int | None:
        if isinstance(top_n, EllipsisType):
            return self.top_n
        if top_n is not None:
            check_count("top_n", top_n)
        return top_n

    def _candidates(self, documents: Sequence[Rankable]) -> list[Item]:
        """Return what each document is ranked by. Looks at the file system."""
        return items(documents, self.page_images())


_RUN = "JinaVLLMRerank"
_STRICT = FoundErrors("raise")


def _with_scores(documents: Sequence[Document], ranked: Sequence[Placed], key: str | None) -> list[Document]:
    return [with_score(documents[each.index], each.score, key) for each in ranked]


def _relevances(ranked: Sequence[Placed]) -> list[Relevance]:
    return [Relevance(index=each.index, relevance_score=each.score) for each in ranked if each.score is not None]

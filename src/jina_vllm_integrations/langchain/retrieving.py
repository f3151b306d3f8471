"""Pages and texts, found in two stages, as LangChain's `BaseRetriever` and `DocumentIndex`."""

# Pydantic reads the annotations of this module, so they are not postponed.
from collections.abc import Sequence
from typing import Any, ClassVar

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManager,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import LangSmithRetrieverParams
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field, SkipValidation

from jina_vllm_integrations.adapters.copying import CopiedBySettings
from jina_vllm_integrations.adapters.found import FoundErrors
from jina_vllm_integrations.adapters.relevance import relevant
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.foundation.skipping import OnFoundError
from jina_vllm_integrations.langchain.embeddings import JinaVLLMEmbeddings
from jina_vllm_integrations.langchain.page_documents import PageDocuments
from jina_vllm_integrations.langchain.queries import LangChainQuery, query_item
from jina_vllm_integrations.langchain.rankables import with_score
from jina_vllm_integrations.langchain.searches import Scored, Search, SearchType
from jina_vllm_integrations.langchain.stage_choice import page_index
from jina_vllm_integrations.qdrant import QdrantIndex
from jina_vllm_integrations.token_store import TokenStore


class JinaVLLMRetriever(CopiedBySettings, PageDocuments):
    """Finds texts and page images, by dense vectors or any retriever, and ranks what it found by late interaction.

    The first stage is any vector store of LangChain's whose embeddings are `JinaVLLMEmbeddings`, or any retriever, by
    words, of another model or of both; the token vectors of the second are kept in a `TokenStore`. Or both stages are
    in Qdrant, which needs no image to rank.

    Documents come and go by `add_documents`, `add_images` and `delete`, or by LangChain's ``index``, of which this is a
    destination. A document whose metadata names an image is embedded by that image, in whichever store: the vector is
    computed before the store asks for it.

    A query is a text, an image, or both together. Results are copies, with their ids and a ``relevance_score`` in the
    metadata: MaxSim over the number of the query's tokens, at most 1 and comparable across queries.

    Making one starts nothing. May be used by many threads and coroutines at once, whose queries share the engine's
    batches. What it is given stays the caller's to close.

    Args:
        vectorstore: The first stage. One of this, ``retriever`` and ``index``.
        retriever: The first stage: any retriever of LangChain's, or any other runnable that takes a text and returns
            documents. It is asked in a run inside this one's. A document that it returns several times is ranked once:
            one with the same text and the same id, or the same metadata. Only ours, and functions, are asked by images.
            Documents are added and deleted where it finds them.
        embeddings: The vector store's, where it does not tell them as ``vectorstore.embeddings``; with ``retriever``
            those whose model ranks. Their checkpoint needs a multi-vector head.
        token_store: Keeps token vectors. Without one they are computed again for each query.
        index: Both stages in Qdrant.
        k: How many documents to return at most.
        fetch_k: How many to find in the first stage, and rank; at least ``k``. A store that has fewer, and refuses, is
            asked for those. A ``retriever`` is asked for so many where it takes a number, and of what another one
            finds, the first so many are ranked; with ``None`` it is asked for none, and all are.
        search_type: ``"mmr"`` finds the ``fetch_k`` documents by maximal marginal relevance, of similar ones few, where
            the vector store has that. It chooses them among four times as many, or ``fetch_k`` in ``search_kwargs``;
            ``lambda_mult`` beside it, or for a call, is how much similarity to the query counts, from 0 to 1.
        filter: Which documents may be found, as the vector store has it; for Qdrant a `qdrant_client.models.Filter`.
            A store whose search reads none is not searched: the error names its own parameter. A ``retriever`` has its
            own, as it has ``search_type`` and ``search_kwargs``.
        score_threshold: The least score to return.
        on_found_error: What to do about a document that was found and cannot be ranked: its image's file is missing or
            must not be read, or its text is empty or too long. ``"skip"`` logs it once, by its id, and leaves it out;
            ``"last"`` puts it behind those that were ranked, without a score, where ``k`` leaves room and
            there is no ``score_threshold``; or ``"raise"``. An engine's errors always raise. Qdrant needs no file.
        score_key: Where the metadata of results has the score; ``None`` for nowhere. LangChain takes documents for the
            same by their texts and metadata, so what unites the results of several queries, such as
            ``MultiQueryRetriever``, finds no duplicates where each has another score: choose ``None`` there.
        search_kwargs: What else the vector store's search takes, such as ``fetch_k`` of LangChain's FAISS, which it
            needs beside a filter; or ``exact`` of `QdrantIndex.search`. What the store is seen to ignore is refused;
            what it passes on to others, a ``filter`` too, is taken as insisted on.
        image_keys: Where metadata may name an image, as for `JinaVLLMRerank`, like the following two.
        allowed_image_roots: The folders whose files metadata may name.
        allow_image_urls: Fetch http and https URLs that metadata names, from public addresses only.

    Raises:
        ValidationError: Pydantic's, a ``ValueError``: a field or value that does not exist or that the first stage
            cannot do, not one of ``vectorstore``, ``retriever`` and ``index``, or a vector store with other embeddings.

    Example:
        >>> with JinaVLLMEmbeddings(model="...") as embeddings, TokenStore("vectors") as token_store:
        ...     retriever = JinaVLLMRetriever(
        ...         vectorstore=InMemoryVectorStore(embeddings),
        ...         token_store=token_store,
        ...         allowed_image_roots=(Path("scans"),),
        ...     )
        ...     retriever.add_images(Path("scans").glob("*.png"))
        ...     pages = retriever.invoke("Where is the total?", k=3)
    """

    shared: ClassVar[frozenset[str]] = frozenset({"vectorstore", "retriever", "embeddings", "token_store", "index"})

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)

    vectorstore: SkipValidation[VectorStore | None] = Field(default=None, exclude=True, repr=False)
    retriever: SkipValidation[Runnable[Any, Any] | None] = Field(default=None, exclude=True, repr=False)
    embeddings: SkipValidation[JinaVLLMEmbeddings | None] = Field(default=None, exclude=True, repr=False)
    token_store: SkipValidation[TokenStore | None] = Field(default=None, exclude=True, repr=False)
    index: SkipValidation[QdrantIndex | None] = Field(default=None, exclude=True, repr=False)
    k: int = Field(default=4, ge=1, strict=True)
    fetch_k: int | None = Field(default=50, ge=1, strict=True)
    search_type: SearchType = "similarity"
    filter: Any = None
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    on_found_error: OnFoundError = "skip"
    score_key: str | None = Field(default="relevance_score", min_length=1)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Check what the stages need, without computing anything."""
        super().model_post_init(context)
        # Not fetch_k: LangChain's FAISS has one of its own, for what it finds before it filters. And a filter only
        # where there are two: this is how to insist on one for a store that cannot be seen to read it.
        own = {"k", "score_threshold", "search_type"} | ({"filter"} if self.filter is not None else set())
        if hidden := self.search_kwargs.keys() & own:
            raise OptionError(f"{', '.join(sorted(hidden))} must be the retriever's own, got it in search_kwargs.")
        self._pages = page_index(
            vectorstore=self.vectorstore,
            retriever=self.retriever,
            index=self.index,
            embeddings=self.embeddings,
            token_store=self.token_store,
            images=self.page_images(),
            errors=FoundErrors(self.on_found_error),
        )
        self._asked()  # what is chosen for all searches is checked as for one

    def invoke(
        self,
        input: LangChainQuery,  # noqa: A002 - the name is LangChain's
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Find documents.

        Args:
            input: What is searched for: a text, or an image as `JinaVLLMEmbeddings.embed_multimodal` takes it; both
                as a `TextImageQuery`; or a message, its content or a prompt, of one text, one image, or one of each.
                A chain's dict is refused: put ``itemgetter("question")`` before the retriever.
            config: LangChain's. Its callbacks are told of each stage, as a child run: ``"embed query"``, ``"find"`` and
                ``"rank"``, or ``"find and rank"`` in Qdrant.
            **kwargs: ``k``, ``fetch_k``, ``search_type``, ``filter`` and ``score_threshold`` for this call, and what
                else the vector store's search reads, such as ``lambda_mult`` of ``search_type="mmr"``.

        Returns:
            The best first.

        Raises:
            InputError: The query cannot be embedded; or what was found cannot be ranked, by ``on_found_error="raise"``.
            OptionError: An option or its value does not exist or would not be read by the first stage, or that cannot
                be searched by an image, or found no documents but something else.
            CheckpointError: The model cannot be served, or has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
            StoreError: The token store or Qdrant's collection cannot be read or written.

        What a first stage raises, is raised.
        """
        return super().invoke(input, config, **kwargs)  # type: ignore[arg-type]  # it only hands it on

    async def ainvoke(
        self,
        input: LangChainQuery,  # noqa: A002 - the name is LangChain's
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Do as `invoke`, without blocking the event loop. Cancelling stops the work."""
        return await super().ainvoke(input, config, **kwargs)  # type: ignore[arg-type]

    def _get_relevant_documents(
        self,
        query: LangChainQuery,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        **kwargs: Any,
    ) -> list[Document]:
        search, threshold = self._asked(**kwargs)
        callbacks = CallbackManager.configure(run_manager.get_child())  # with those that LangChain lets nobody inherit
        found = self._pages.search(query_item(query), search, callbacks)
        return self._relevant(found, threshold)

    async def _aget_relevant_documents(
        self,
        query: LangChainQuery,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        **kwargs: Any,
    ) -> list[Document]:
        search, threshold = self._asked(**kwargs)
        callbacks = AsyncCallbackManager.configure(run_manager.get_child())
        found = await self._pages.asearch(query_item(query), search, callbacks)
        return self._relevant(found, threshold)

    def _relevant(self, found: Sequence[Scored], threshold: float | None) -> list[Document]:
        return [with_score(each.document, each.score, self.score_key) for each in relevant(found, threshold)]

    def _asked(self, **options: Any) -> tuple[Search, float | None]:
        """Return what a call asks for: its own options, and the retriever's for the rest."""
        own = {name: options.pop(name, getattr(self, name)) for name in _PER_CALL}
        check_count("k", own["k"])
        if own["fetch_k"] is not None:
            check_count("fetch_k", own["fetch_k"])
        check_choice("search_type", own["search_type"], SearchType)
        search = Search(
            k=own["k"],
            fetch_k=None if own["fetch_k"] is None else max(own["k"], own["fetch_k"]),
            filter=own["filter"],
            options={**self.search_kwargs, **options},
            per_call=frozenset(options),
            search_type=own["search_type"],
        )
        self._pages.check(search)
        return search, own["score_threshold"]

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """Say in traces what computes and where documents are."""
        parameters = super()._get_ls_params(**kwargs)
        kept_in = next((each for each in (self.vectorstore, self.index) if each is not None), None)
        if kept_in is not None:  # a retriever tells its own, in a run of its own
            parameters["ls_vector_store_provider"] = type(kept_in).__name__
        parameters["ls_embedding_provider"] = "jina-vllm"
        return parameters


_PER_CALL = ("k", "fetch_k", "search_type", "filter", "score_threshold")

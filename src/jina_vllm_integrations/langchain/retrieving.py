"""Pages and texts, found in two stages, as LangChain's `BaseRetriever` and `DocumentIndex`."""

# Pydantic reads the annotations of this module, so they are not postponed.
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManager,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field, SkipValidation

from jina_vllm_integrations.adapters.copying import CopiedBySettings
from jina_vllm_integrations.adapters.found import FoundErrors
from jina_vllm_integrations.adapters.relevance import relevant
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_count
from jina_vllm_integrations.foundation.skipping import OnFoundError
from jina_vllm_integrations.langchain.embeddings import JinaVLLMEmbeddings
from jina_vllm_integrations.langchain.page_documents import PageDocuments
from jina_vllm_integrations.langchain.qdrant_pages import QdrantPages
from jina_vllm_integrations.langchain.queries import LangChainQuery, query_item
from jina_vllm_integrations.langchain.rankables import with_score
from jina_vllm_integrations.langchain.searches import Scored, Search
from jina_vllm_integrations.langchain.two_stages import TwoStages
from jina_vllm_integrations.qdrant import QdrantIndex
from jina_vllm_integrations.token_store import TokenStore


class JinaVLLMRetriever(CopiedBySettings, PageDocuments):
    """Finds texts and page images by dense vectors, and ranks what it found by late interaction.

    The first stage is any vector store of LangChain's whose embeddings are `JinaVLLMEmbeddings`; the token vectors of
    the second are kept in a `TokenStore`. Or both stages are in Qdrant, which needs no image to rank.

    Documents come and go by `add_documents`, `add_images` and `delete`, or by LangChain's ``index``, of which this is a
    destination. A document whose metadata names an image is embedded by that image, in whichever store: the vector is
    computed before the store asks for it.

    A query is a text or an image. Results are copies, with their ids and a ``relevance_score`` in the metadata: MaxSim
    over the number of the query's tokens, at most 1 and comparable across queries.

    Making one starts nothing. May be used by many threads and coroutines at once, whose queries share the engine's
    batches. What it is given stays the caller's to close.

    Args:
        vectorstore: The first stage. Either this or ``index``.
        embeddings: The vector store's, where it does not tell them as ``vectorstore.embeddings``. Their checkpoint
            needs a multi-vector head.
        token_store: Keeps token vectors. Without one they are computed again for each query.
        index: Both stages in Qdrant.
        k: How many documents to return at most.
        fetch_k: How many to find in the first stage, and rank; at least ``k``. A store that has fewer, and refuses, is
            asked for those.
        filter: Which documents may be found, as the vector store has it; for Qdrant a `qdrant_client.models.Filter`.
            A store whose search reads none is not searched: the error names its own parameter.
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
        ValidationError: Pydantic's, a ``ValueError``: a field or value that does not exist, neither or both of
            ``vectorstore`` and ``index``, or a vector store with other embeddings.

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

    shared: ClassVar[frozenset[str]] = frozenset({"vectorstore", "embeddings", "token_store", "index"})

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)

    vectorstore: SkipValidation[VectorStore | None] = Field(default=None, exclude=True, repr=False)
    embeddings: SkipValidation[JinaVLLMEmbeddings | None] = Field(default=None, exclude=True, repr=False)
    token_store: SkipValidation[TokenStore | None] = Field(default=None, exclude=True, repr=False)
    index: SkipValidation[QdrantIndex | None] = Field(default=None, exclude=True, repr=False)
    k: int = Field(default=4, ge=1, strict=True)
    fetch_k: int = Field(default=50, ge=1, strict=True)
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
        own = {"k", "score_threshold"} | ({"filter"} if self.filter is not None else set())
        if hidden := self.search_kwargs.keys() & own:
            raise OptionError(f"{', '.join(sorted(hidden))} must be the retriever's own, got it in search_kwargs.")
        if (self.vectorstore is None) == (self.index is None):
            raise OptionError("one of vectorstore and index must be given. Pass any vector store, or a QdrantIndex.")
        if self.index is not None:
            self._check_nothing_beside_the_index()
            _check_qdrant_options(self.search_kwargs)
            self._pages = QdrantPages(self.index, self.page_images())
        elif self.vectorstore is not None:
            embeddings = self._own_embeddings(self.vectorstore)
            errors = FoundErrors(self.on_found_error)
            self._pages = TwoStages(self.vectorstore, embeddings, self.token_store, self.page_images(), errors)

    def invoke(
        self,
        input: LangChainQuery,  # noqa: A002 - the name is LangChain's
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Find documents.

        Args:
            input: What is searched for: a text, or an image as `JinaVLLMEmbeddings.embed_multimodal` takes it; or a
                message, its content or a prompt, of one text or one image. A chain's dict is refused: put
                ``itemgetter("question")`` before the retriever.
            config: LangChain's. Its callbacks are told of each stage, as a child run: ``"embed query"``, ``"find"`` and
                ``"rank"``, or ``"find and rank"`` in Qdrant.
            **kwargs: ``k``, ``fetch_k``, ``filter`` and ``score_threshold`` for this call, and what else the vector
                store's search reads.

        Returns:
            The best first.

        Raises:
            InputError: The query cannot be embedded; or what was found cannot be ranked, by ``on_found_error="raise"``.
            OptionError: An option or its value does not exist or would not be read by the vector store, or that cannot
                be searched by an image.
            CheckpointError: The model cannot be served, or has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
            StoreError: The token store or Qdrant's collection cannot be read or written.
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
        for name in ("k", "fetch_k"):
            check_count(name, own[name])
        search = Search(
            k=own["k"],
            fetch_k=max(own["k"], own["fetch_k"]),
            filter=own["filter"],
            options={**self.search_kwargs, **options},
            per_call=frozenset(options),
        )
        if self.index is not None:
            _check_qdrant_options(search.options)
        return search, own["score_threshold"]

    def _check_nothing_beside_the_index(self) -> None:
        beside = [name for name in ("embeddings", "token_store") if getattr(self, name) is not None]
        if beside:
            raise OptionError(f"{' and '.join(beside)} go with vectorstore=, an index has its own. Leave them out.")

    def _own_embeddings(self, vectorstore: VectorStore) -> JinaVLLMEmbeddings:
        own = vectorstore.embeddings
        embeddings = own or self.embeddings
        if not isinstance(embeddings, JinaVLLMEmbeddings):
            raise OptionError(
                f"the vector store must embed by JinaVLLMEmbeddings, as both stages compute by one model, got "
                f"{type(embeddings).__name__}. Make it with them; if it does not tell its embeddings, pass them as "
                "embeddings=. To rank what another model finds, use JinaVLLMRerank."
            )
        if self.embeddings is not None and self.embeddings is not embeddings:
            raise OptionError("embeddings= must be the vector store's own, got others. Leave it out.")
        return embeddings

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """Say in traces what computes and where documents are."""
        parameters = super()._get_ls_params(**kwargs)
        parameters["ls_vector_store_provider"] = type(self.vectorstore or self.index).__name__
        parameters["ls_embedding_provider"] = "jina-vllm"
        return parameters


_PER_CALL = ("k", "fetch_k", "filter", "score_threshold")


def _check_qdrant_options(options: Mapping[str, Any]) -> None:
    if unknown := options.keys() - {"exact"}:
        raise OptionError(
            f"a search of a QdrantIndex takes {', '.join(_PER_CALL)} and exact, got {', '.join(sorted(unknown))}."
        )

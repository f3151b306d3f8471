"""The ways to dense vectors that `peers.py` compares: they load the same weights and take the same items."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from device import device
from random_items import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    # From items and a batch size, `None` for a way that is not batched, to their vectors.
    Run = Callable[[Sequence[Any], Any], Any]

TEXTS_ONLY = "texts only: its pooling averages over the whole prompt, and cannot be told the image's span"


@dataclass(frozen=True)
class Way:
    """One way.

    Attributes:
        load: Loads a checkpoint, with vLLM's options where it has a vLLM.
        modules: What must be installed.
        batched: Whether its caller chooses a batch size.
        without_pages: Why it embeds no pages; ``None`` where it does.
    """

    load: Callable[[str, dict[str, Any]], AbstractContextManager[Run]]
    modules: tuple[str, ...]
    batched: bool = False
    without_pages: str | None = None

    def missing(self) -> list[str]:
        """Return which modules are not installed."""
        return [module for module in self.modules if not installed(module)]


def installed(module: str) -> bool:
    """Say whether a module can be found; a package inside another is looked for in that one."""
    package, _, _ = module.rpartition(".")
    return (not package or installed(package)) and find_spec(module) is not None


@contextmanager
def plain_transformers(checkpoint: str, _: dict[str, Any]) -> Iterator[Run]:
    """Qwen2.5-VL of transformers."""
    from plain_transformers import PlainTransformers

    yield PlainTransformers(checkpoint).embed


@contextmanager
def encode_and_loop(checkpoint: str, vllm_options: dict[str, Any]) -> Iterator[Run]:
    """``LLM.encode`` of stock vLLM, whose states a loop pools."""
    from encode_loop import encode_loop

    run = encode_loop(checkpoint, **vllm_options)
    yield lambda items, _: run(items)


@contextmanager
def sentence_transformers(checkpoint: str, _: dict[str, Any]) -> Iterator[Run]:
    """`SentenceTransformer`, which averages the states of a checkpoint that names no pooling."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(checkpoint, device=device(), model_kwargs=model_options())
    yield lambda items, batch_size: model.encode(
        items, batch_size=batch_size, prompt=PREFIX, normalize_embeddings=True, show_progress_bar=False
    )


@contextmanager
def langchain_peer(checkpoint: str, _: dict[str, Any]) -> Iterator[Run]:
    """LangChain's `HuggingFaceEmbeddings`, which stand on sentence-transformers."""
    from langchain_huggingface import HuggingFaceEmbeddings

    embeddings = HuggingFaceEmbeddings(
        model=checkpoint,
        model_kwargs={"device": device(), "model_kwargs": model_options()},
        encode_kwargs={"prompt": PREFIX, "normalize_embeddings": True},
    )

    def run(items: Sequence[Any], batch_size: int) -> list[list[float]]:
        embeddings.encode_kwargs["batch_size"] = batch_size
        return embeddings.embed_documents(list(items))

    yield run


@contextmanager
def llama_index_peer(checkpoint: str, _: dict[str, Any]) -> Iterator[Run]:
    """LlamaIndex's `HuggingFaceEmbedding`, which stands on sentence-transformers."""
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    embedding = HuggingFaceEmbedding(checkpoint, device=device(), text_instruction=PREFIX, model_kwargs=model_options())

    def run(items: Sequence[Any], batch_size: int) -> list[list[float]]:
        embedding.embed_batch_size = batch_size
        return embedding.get_text_embedding_batch(list(items))

    yield run


@contextmanager
def jina_encoder(checkpoint: str, vllm_options: dict[str, Any]) -> Iterator[Run]:
    """`JinaEncoder` over `InProcessEngine`."""
    from jina_vllm_integrations import InProcessEngine, JinaEncoder

    with InProcessEngine(checkpoint, **vllm_options) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        yield lambda items, _: encoder.embed(items, role="document")


@contextmanager
def langchain_adapter(checkpoint: str, vllm_options: dict[str, Any]) -> Iterator[Run]:
    """`JinaVLLMEmbeddings`."""
    from jina_vllm_integrations.langchain import JinaVLLMEmbeddings

    with JinaVLLMEmbeddings(model=checkpoint, engine_options=vllm_options) as embeddings:
        yield lambda items, _: embeddings.embed_documents(list(items))


@contextmanager
def llama_index_adapter(checkpoint: str, vllm_options: dict[str, Any]) -> Iterator[Run]:
    """`JinaVLLMEmbedding`."""
    from jina_vllm_integrations.llama_index import JinaVLLMEmbedding

    with JinaVLLMEmbedding(model=checkpoint, engine_options=vllm_options) as embedding:
        yield lambda items, _: embedding.get_text_embedding_batch(list(items))


def model_options() -> dict[str, Any]:
    """Return how sentence-transformers loads the model: as `plain_transformers` does."""
    from plain_transformers import ATTENTION

    return {"dtype": "auto", "attn_implementation": ATTENTION}


LIKE_ITS_PEER = "texts only, as its peer"
# transformers first: the others' vectors are compared with its.
WAYS = {
    "transformers": Way(plain_transformers, ("transformers",), batched=True),
    "LLM.encode and a loop": Way(encode_and_loop, ("vllm",)),
    "sentence-transformers": Way(
        sentence_transformers, ("sentence_transformers",), batched=True, without_pages=TEXTS_ONLY
    ),
    "JinaEncoder": Way(jina_encoder, ("vllm",)),
    "LangChain: HuggingFaceEmbeddings": Way(
        langchain_peer, ("langchain_huggingface", "sentence_transformers"), batched=True, without_pages=TEXTS_ONLY
    ),
    "LangChain: JinaVLLMEmbeddings": Way(langchain_adapter, ("vllm", "langchain_core"), without_pages=LIKE_ITS_PEER),
    "LlamaIndex: HuggingFaceEmbedding": Way(
        llama_index_peer,
        ("llama_index.embeddings.huggingface", "sentence_transformers"),
        batched=True,
        without_pages=TEXTS_ONLY,
    ),
    "LlamaIndex: JinaVLLMEmbedding": Way(
        llama_index_adapter, ("vllm", "llama_index.core"), without_pages=LIKE_ITS_PEER
    ),
}

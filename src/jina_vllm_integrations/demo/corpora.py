"""Pictures to search, and queries whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jina_vllm_integrations.model.files import read_json

_FOLDER = Path(__file__).parent / "corpus"


@dataclass(frozen=True, kw_only=True)
class DemoDocument:
    """A picture: a printed page in grey, or a scene of coloured shapes.

    Attributes:
        name: Of its file, e.g. ``"page-01.png"`` or ``"scene-01.png"``.
        path: The PNG file, inside this package.
    """

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class DemoQuery:
    """What somebody might search the pictures for.

    Attributes:
        text: In the query's language; names on a page are as they are printed there.
        language: ``"de"``, ``"en"``, ``"es"`` or ``"ja"``.
        answers: The names of the documents that answer it, at least one.
    """

    text: str
    language: str
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DemoCorpus:
    """Documents and queries.

    Attributes:
        documents: 24 pages, then 24 scenes.
        queries: 24 about pages, then 24 about scenes.
    """

    documents: tuple[DemoDocument, ...]
    queries: tuple[DemoQuery, ...]


def demo_corpus() -> DemoCorpus:
    """Return 48 pictures and 48 queries in four languages, with which picture answers which query.

    The checkpoint of `demo_checkpoint` was trained on pictures of this kind, but not on these.

    Example:
        >>> corpus = demo_corpus()
        >>> with demo_engine() as engine:
        ...     encoder = JinaEncoder(engine, task="retrieval")
        ...     pictures = encoder.embed([document.path for document in corpus.documents], role="document")
        ...     queries = encoder.embed([query.text for query in corpus.queries], role="query")
        >>> pictures.shape, queries.shape
        ((48, 256), (48, 256))
        >>> best = [corpus.documents[row.argmax()].name for row in queries @ pictures.T]
        >>> found = [name in query.answers for name, query in zip(best, corpus.queries)]
    """
    content = read_json(_FOLDER / "corpus.json")
    return DemoCorpus(
        documents=tuple(DemoDocument(name=name, path=_FOLDER / name) for name in content["documents"]),
        queries=tuple(
            DemoQuery(text=query["text"], language=query["language"], answers=tuple(query["answers"]))
            for query in content["queries"]
        ),
    )

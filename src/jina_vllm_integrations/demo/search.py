"""Every query of the demo's corpus against every picture, by dense vectors and by late interaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.scoring import score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_vllm_integrations.demo.corpora import DemoCorpus, DemoQuery
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.types import FloatArray

# Shown in full is the first query of each of these languages about such a picture.
_SHOWN = (("German", "de", "page"), ("English", "en", "scene"), ("Japanese", "ja", "scene"))
_BEST = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class DemoScores:
    """How well each document of a corpus fits each of its queries.

    Attributes:
        dense: Cosine similarities of dense vectors. *Shape:* ``(n_queries, n_documents)``, float32.
        late: MaxSim of token vectors. *Shape:* ``(n_queries, n_documents)``, float32.
    """

    dense: FloatArray
    late: FloatArray


def score_corpus(encoder: JinaEncoder, corpus: DemoCorpus) -> DemoScores:
    """Embed all pictures and queries, each in one forward pass, and score every pair both ways."""
    pictures, picture_tokens = encoder.embed_both([document.path for document in corpus.documents], role="document")
    queries, query_tokens = encoder.embed_both([query.text for query in corpus.queries], role="query")
    documents = [tokens.vectors for tokens in picture_tokens]
    return DemoScores(
        dense=queries @ pictures.T,
        late=np.stack([score(tokens.vectors, documents) for tokens in query_tokens]),
    )


def format_search(corpus: DemoCorpus, scores: DemoScores) -> str:
    """Show a few queries with their rankings side by side, where the pictures are, and how often the right one won."""
    lines = [f"{len(corpus.documents)} pictures, best first; * marks the one that was searched for."]
    for language, code, kind in _SHOWN:
        row = _first(corpus, code, kind)
        lines += ["", f"The first {language} query about a {kind}:", f"  {corpus.queries[row].text}"]
        lines += _rankings(corpus, corpus.queries[row], scores.dense[row], scores.late[row])
    n_dense, n_late = _n_right(corpus, scores.dense), _n_right(corpus, scores.late)
    n_queries = len(corpus.queries)
    return "\n".join(
        [
            *lines,
            "",
            f"The pictures are in {corpus.documents[0].path.parent}",
            f"Right picture first: dense {n_dense} of {n_queries}, late interaction {n_late} of {n_queries} queries.",
        ]
    )


def _first(corpus: DemoCorpus, language: str, kind: str) -> int:
    return next(
        row
        for row, query in enumerate(corpus.queries)
        if query.language == language and query.answers[0].startswith(kind)
    )


def _rankings(corpus: DemoCorpus, query: DemoQuery, dense: FloatArray, late: FloatArray) -> Iterator[str]:
    yield f"     {'dense vectors':<30}late interaction"
    for rank, (left, right) in enumerate(zip(_ranked(dense)[:_BEST], _ranked(late)[:_BEST], strict=True), start=1):
        yield (
            f"  {rank}  {_entry(corpus, query, left, dense[left]):<30}{_entry(corpus, query, right, late[right])}"
        ).rstrip()


def _entry(corpus: DemoCorpus, query: DemoQuery, index: int, value: float) -> str:
    name = corpus.documents[index].name
    return f"{name:<14}{value:>7.3f} {'*' if name in query.answers else ''}"


def _ranked(row: FloatArray) -> list[int]:
    """Return the positions of the scores, the best first."""
    return [int(index) for index in np.argsort(-row, kind="stable")]


def _n_right(corpus: DemoCorpus, scores: FloatArray) -> int:
    """Return how many queries have an answer in the first place."""
    best = (corpus.documents[index].name for index in scores.argmax(axis=1))
    return sum(name in query.answers for name, query in zip(best, corpus.queries, strict=True))

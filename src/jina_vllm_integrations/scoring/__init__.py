"""Late interaction: how well documents fit a query, by one vector a token.

The score is MaxSim: the sum over the query's tokens of the greatest inner product with one of the document's rows, as
in ColBERT (Khattab and Zaharia 2020, https://arxiv.org/abs/2004.12832, equation 3). It is exact, and each document is
scored by itself, without padding: neighbours and batches do not change a bit of it::

    (query,) = encoder.embed_tokens(["Where is the invoice?"], role="query")
    pages = encoder.embed_tokens([Path("page-1.png"), Path("page-2.png")], role="document")
    score(query, pages)          # float32 (2,)
    top_k(query, pages, 1)       # [Hit(index=0, score=13.37)]
    align(query, pages[0]).rows  # which row of the page each token of the query found

Many documents are best packed once: ``pack(pages, dtype="float16")``, and ``.to_cuda()`` where there is a GPU.
"""

from __future__ import annotations

from jina_vllm_integrations.scoring.maxsim import Documents, align, score, score_many, top_k
from jina_vllm_integrations.scoring.packing import PackedVectors, pack

__all__ = ["Documents", "PackedVectors", "align", "pack", "score", "score_many", "top_k"]

"""A text and an image that are searched for together, on vectors that were trained."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from jina_vllm_integrations import JinaEncoder, LateInteractionReranker, TextImageQuery
from jina_vllm_integrations.qdrant import QdrantIndex

LEFT = {"red": (208, 32, 32), "blue": (32, 64, 208)}
RIGHT = {"green": (32, 144, 48), "black": (24, 24, 24)}


def scene(left=None, right=None):
    """Paint a circle of one colour on the left, and a square of another on the right."""
    picture = Image.new("RGB", (168, 140), (246, 246, 246))
    draw = ImageDraw.Draw(picture)
    if left:
        draw.ellipse((14, 40, 70, 96), fill=LEFT[left])
    if right:
        draw.rectangle((98, 44, 150, 96), fill=RIGHT[right])
    return picture


PAIRS = [(left, right) for left in LEFT for right in RIGHT]


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_each_half_matters(demo_vllm, left, right):
    """Another text finds another picture, and so does another image: by late interaction, and in Qdrant."""
    encoder = JinaEncoder(demo_vllm, task="retrieval")
    pictures = [scene(*pair) for pair in PAIRS]
    query = TextImageQuery(f"a {right} square on the right", scene(left=left))
    (best,) = LateInteractionReranker(encoder).rerank(query, pictures, top_n=1)
    assert PAIRS[best.index] == (left, right)
    with QdrantIndex(encoder, "scenes", path=":memory:") as index:
        index.upsert(pictures, payloads=[{"pair": pair} for pair in PAIRS])
        (hit,) = index.search(query, limit=1)
    assert tuple(hit.payload["pair"]) == (left, right)

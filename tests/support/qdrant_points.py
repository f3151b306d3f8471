"""What is stored in a Qdrant, and what is found there."""

from __future__ import annotations

from pictures import picture

TEXTS = [
    "a red circle on white paper",
    "ein blaues Quadrat neben einem Kreis",
    "the invoice is due in March",
    "a red square",
    "nothing of this kind",
]
QUERY = "where is the red circle"


def page(colour="white", size=(112, 84)):
    """Return an image of one colour."""
    return picture(colour, size)


def stored(index):
    """Return everything that is in an index, by id."""
    found = index._collection._opened().scroll("pages", limit=1000, with_vectors=True)[0]
    return {record.id: (record.payload, record.vector) for record in found}

"""Write the corpus that the package ships: a few dozen pages and scenes of the test data, with queries."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image
from search_sets import search_set

from jina_vllm_integrations.model.files import write_json

_SIZES = {"pages": 24, "scenes": 24}
# Not the seed of the test sets: the demo shows other pictures than those that the figures are measured on.
_SEED = 1


def main() -> None:
    """Write the pictures and ``corpus.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the directory to write")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    documents, queries = [], []
    for kind, size in _SIZES.items():
        chosen = search_set(kind, "test", size=size, seed=_SEED)
        for number, (text, language, picture) in enumerate(
            zip(chosen.queries, chosen.languages, chosen.documents, strict=True), start=1
        ):
            name = f"{kind[:-1]}-{number:02}.png"
            assert isinstance(picture, Image.Image)
            picture.save(out / name, optimize=True)
            documents.append(name)
            queries.append({"text": text, "language": language, "answers": [name]})
    write_json(out / "corpus.json", {"documents": documents, "queries": queries})


if __name__ == "__main__":
    main()

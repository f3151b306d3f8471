"""The cache of LangChain's embeddings: what is computed, and what is not."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.storage import LocalFileStore
from langchain_core.stores import InMemoryByteStore
from PIL import Image

from caches import AskedEngine, both
from jina_vllm_integrations import ImageFormatError, ImageNotFoundError, JinaEncoder
from jina_vllm_integrations.adapters import cached_encoder
from jina_vllm_integrations.images import ImageHandle
from jina_vllm_integrations.langchain import JinaVLLMByteStore, JinaVLLMEmbeddings
from jina_vllm_integrations.testing import FakeEngine
from pictures import encoded, picture, png

# Float16 has eleven bits; the numbers of a vector are at most 1.
ROUNDED = {"rtol": 0, "atol": 2**-11}


@pytest.fixture(params=["memory", "files", "ours"])
def any_cache(request, tmp_path):
    """Return each kind of store."""
    match request.param:
        case "memory":
            yield InMemoryByteStore()
        case "files":
            yield LocalFileStore(tmp_path / "files")
        case "ours":
            with JinaVLLMByteStore(tmp_path / "ours") as store:
                yield store


def test_each_store_keeps_all_kinds_of_vectors(engine, any_cache, tmp_path):
    """What was embedded once, by whichever method, is never computed again, and is the same number by number."""
    (tmp_path / "red.png").write_bytes(png("red"))
    images = [tmp_path / "red.png", picture("blue")]

    def embed(embeddings):
        return [
            *embeddings.embed_documents(["a", "b"]),
            embeddings.embed_query("a"),
            *embeddings.embed_images(images),
            *embeddings.embed_image(uris=[str(images[0])]),
            embeddings.embed_image(images[1]),
            *embeddings.embed_multimodal(["c", images[0]], input_type="query"),
        ]

    first = embed(JinaVLLMEmbeddings(engine=engine, cache=any_cache))
    assert engine.n_requests == 6
    assert embed(JinaVLLMEmbeddings(engine=engine, cache=any_cache)) == first
    assert engine.n_requests == 6
    np.testing.assert_allclose(first, embed(JinaVLLMEmbeddings(engine=engine)), **ROUNDED)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=0, atol=1e-6)
    assert {type(number) for vector in first for number in vector} == {float}


def test_synchronous_and_asynchronous_share_a_cache(engine, any_cache):
    """Every method finds what its twin kept."""
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=any_cache)
    mixed = ["ein Text", picture("red"), png("blue")]

    async def coroutines():
        return (
            await embeddings.aembed_documents(["a", "b"]),
            await embeddings.aembed_query("a"),
            await embeddings.aembed_image(mixed[1]),
            await embeddings.aembed_images(mixed[1:]),
            await embeddings.aembed_multimodal(mixed),
        )

    kept = asyncio.run(coroutines())
    assert engine.n_requests == 6
    found = (
        embeddings.embed_documents(["a", "b"]),
        embeddings.embed_query("a"),
        embeddings.embed_image(mixed[1]),
        embeddings.embed_images(mixed[1:]),
        embeddings.embed_multimodal(mixed),
    )
    assert kept == found == asyncio.run(coroutines())
    assert engine.n_requests == 6


def test_a_query_and_a_document_are_apart(embeddings, engine):
    """The same text has two vectors, each the one of its prompt, in whichever order they come."""
    query = embeddings.embed_query("a red circle")
    (document,) = embeddings.embed_documents(["a red circle"])
    assert engine.n_requests == 2
    encoder = JinaEncoder(engine, task="retrieval")
    np.testing.assert_allclose(query, encoder.embed(["a red circle"], role="query")[0], **ROUNDED)
    np.testing.assert_allclose(document, encoder.embed(["a red circle"], role="document")[0], **ROUNDED)
    assert embeddings.embed_multimodal(["a red circle"], "query") == [query] != [document]


def test_what_langchains_own_cache_does_to_a_model_with_two_prompts(engine):
    """`CacheBackedEmbeddings` with a cache of queries serves a query the vector of the document. Ours does not."""
    plain = JinaVLLMEmbeddings(engine=engine)
    theirs = CacheBackedEmbeddings.from_bytes_store(
        plain, InMemoryByteStore(), query_embedding_cache=True, key_encoder="sha256"
    )
    ours = JinaVLLMEmbeddings(engine=engine, cache=InMemoryByteStore())
    for embeddings in (theirs, ours):
        embeddings.embed_documents(["a red circle"])
    assert theirs.embed_query("a red circle") == plain.embed_documents(["a red circle"])[0]
    assert theirs.embed_query("a red circle") != plain.embed_query("a red circle")
    np.testing.assert_allclose(ours.embed_query("a red circle"), plain.embed_query("a red circle"), **ROUNDED)
    # What hides it from stores that look for it, such as Chroma, which then stores images without vectors.
    assert not hasattr(theirs, "embed_image")
    assert hasattr(ours, "embed_image")


def test_nothing_is_served_for_another(engine, cache):
    """Other dimensions, another task and another model find nothing of each other's."""

    def embed(engine, **options):
        return JinaVLLMEmbeddings(engine=engine, cache=cache, **options).embed_documents(["ein Text"])[0]

    with AskedEngine(hidden_size=32) as other_model, AskedEngine() as other_weights:
        other_weights.fingerprint = "others"
        made = [
            embed(engine),
            embed(engine, dimensions=16),
            embed(engine, task="code"),
            embed(engine, task="text-matching"),
            embed(other_model),
            embed(other_weights),
        ]
        assert (engine.n_requests, other_model.n_requests, other_weights.n_requests) == (4, 1, 1)
    assert [len(vector) for vector in made] == [64, 16, 64, 64, 32, 64]
    assert len(cache.store) == 6
    assert embed(engine, dimensions=64) == made[0]  # the full size, said explicitly
    assert engine.n_requests == 4


def test_a_text_is_what_the_model_reads(cache):
    """Texts that are cut to the same tokens are one; a text that is not cut is another."""
    with AskedEngine(max_tokens=32) as engine:
        embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, truncate=True)
        cut = embeddings.embed_documents(["lang " * 20 + "a", "lang " * 20 + "b", "lang"])
        assert cut[0] == cut[1] != cut[2]
        assert engine.n_requests == 2


def test_an_image_is_its_pixels(embeddings, engine, tmp_path):
    """A picture as path, bytes, PIL image and in other formats is one, as a query and as a document."""
    image = picture("red")
    (tmp_path / "red.png").write_bytes(encoded(image))
    vector = embeddings.embed_image(tmp_path / "red.png")
    forms = [tmp_path / "red.png", image, encoded(image), encoded(image, "BMP"), encoded(image, "TIFF")]
    assert embeddings.embed_images(forms) == [vector] * 5
    assert embeddings.embed_multimodal(forms, input_type="query") == [vector] * 5
    assert engine.n_requests == 1
    embeddings.embed_image(picture("red", (60, 90)))  # the same bytes in another shape
    assert engine.n_requests == 2


@pytest.mark.parametrize("embed_image", both("embed_image"))
def test_a_file_that_changes_is_another_image(embeddings, engine, tmp_path, embed_image):
    """The content counts, not the path."""
    path = tmp_path / "page.png"
    path.write_bytes(png("red"))
    red = embed_image(embeddings, path)
    path.write_bytes(png("blue"))
    blue = embed_image(embeddings, path)
    assert engine.n_requests == 2
    plain = JinaVLLMEmbeddings(engine=engine)
    np.testing.assert_allclose(red, plain.embed_image(picture("red")), **ROUNDED)
    np.testing.assert_allclose(blue, plain.embed_image(picture("blue")), **ROUNDED)


@pytest.mark.parametrize("embed_images", both("embed_images"))
def test_a_known_file_is_not_decoded_again(embeddings, monkeypatch, tmp_path, embed_images):
    """A note of what its bytes show is kept beside the vectors, so that finding it costs a hash."""
    contents = [png(colour) for colour in ("red", "blue")]
    vectors = embed_images(embeddings, contents)
    (tmp_path / "blue.png").write_bytes(contents[1])
    monkeypatch.setattr(ImageHandle, "load", lambda _: pytest.fail("decoded"))
    assert embed_images(embeddings, [tmp_path / "blue.png", *contents]) == [vectors[1], *vectors]


def test_what_is_hashed_is_what_is_embedded(cache, tmp_path):
    """A file that changes while its batch is in work is kept as what it was when it was read."""
    path = tmp_path / "page.png"
    path.write_bytes(png("red"))

    class ChangingEngine(FakeEngine):
        def submit(self, requests):
            path.write_bytes(png("blue"))
            return super().submit(requests)

    with ChangingEngine() as engine:
        red = JinaVLLMEmbeddings(engine=engine, cache=cache).embed_image(path)
        plain = JinaVLLMEmbeddings(engine=engine)
        np.testing.assert_allclose(red, plain.embed_image(picture("red")), **ROUNDED)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 1024])
@pytest.mark.parametrize("embed_documents", both("embed_documents"))
def test_equal_items_are_computed_once(engine, cache, batch_size, embed_documents):
    """Within a batch and across batches, and each has its vector at its place."""
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, batch_size=batch_size)
    texts = ["a", "b", "a", "c", "c", "b", "a"]
    vectors = embed_documents(embeddings, texts)
    assert engine.n_requests == 3
    expected = JinaVLLMEmbeddings(engine=engine).embed_documents(texts)
    np.testing.assert_allclose(vectors, expected, **ROUNDED)


def test_the_store_is_asked_once_a_batch(engine, cache):
    """One read and one write for texts, a read more for the notes of encoded images, and no write without news."""
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, batch_size=3)
    embeddings.embed_documents(["a", "b", "a", "c", "d"])
    assert (cache.read, cache.written) == ([2, 2], [2, 2])
    embeddings.embed_documents(["a", "b", "a", "c", "e"])
    assert (cache.read[2:], cache.written[2:]) == ([2, 2], [1])
    embeddings.embed_images([png("red"), encoded(picture("red"), "BMP"), picture("blue")])
    assert (cache.read[4:], cache.written[3:]) == ([2, 2], [4])


@pytest.mark.parametrize("embed_multimodal", both("embed_multimodal"))
def test_large_images_take_turns(engine, cache, monkeypatch, embed_multimodal):
    """Of a batch only as many images are read at once as memory allows, and nothing else changes. A white-box test."""
    items = [picture("red"), "a", png("blue"), "b", picture("green"), picture("red"), "a"]
    expected = JinaVLLMEmbeddings(engine=engine).embed_multimodal(items)
    monkeypatch.setattr(cached_encoder, "_MOST_PIXELS", 90 * 60)
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache)
    np.testing.assert_allclose(embed_multimodal(embeddings, items), expected, **ROUNDED)
    assert cache.written == [2, 3, 1]
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"))[:-900]
    with pytest.raises(ImageFormatError) as caught:
        embed_multimodal(embeddings, [*items, cut])
    assert caught.value.index == 7


def test_many_images_keep_their_order(embeddings, engine, tmp_path):
    """They are read and decoded in several threads."""
    pages = []
    for number in range(40):
        pages.append(tmp_path / f"{number}.png")
        pages[-1].write_bytes(encoded(picture((6 * number, 255 - 6 * number, 100), (90, 60 + number))))
    expected = JinaVLLMEmbeddings(engine=engine).embed_images(pages)
    np.testing.assert_allclose(embeddings.embed_images(pages), expected, **ROUNDED)
    pages[33].unlink()
    with pytest.raises(ImageNotFoundError) as caught:
        embeddings.embed_images(pages)
    assert caught.value.index == 33


def test_nothing_starts_nothing(cache):
    """An empty list asks neither engine nor store."""
    embeddings = JinaVLLMEmbeddings(model="no such model", cache=cache)
    assert embeddings.embed_documents([]) == asyncio.run(embeddings.aembed_images([])) == []
    assert cache.read == []


def test_a_vector_takes_two_bytes_a_dimension(tmp_path):
    """As files, beside twelve bytes of header; in our store's pages a vector of 2048 dimensions takes some more."""
    texts = [f"text {number}" for number in range(200)]
    with FakeEngine(hidden_size=2048) as engine, JinaVLLMByteStore(tmp_path / "ours") as ours:
        JinaVLLMEmbeddings(engine=engine, cache=LocalFileStore(tmp_path / "files")).embed_documents(texts)
        JinaVLLMEmbeddings(engine=engine, cache=ours).embed_documents(texts)
    sizes = {path.stat().st_size for path in (tmp_path / "files").iterdir()}
    assert sizes == {2 * 2048 + 12}
    assert (tmp_path / "ours" / "data.mdb").stat().st_size < 200 * 10_000


def test_progress_counts_what_was_found(engine, cache, capsys):
    """The bar gets to the end, whoever has the vectors."""
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, show_progress_bar=True)
    for embed_documents in both("embed_documents"):
        embed_documents(embeddings, ["a", "b", "a"])
        assert "3/3" in capsys.readouterr().err

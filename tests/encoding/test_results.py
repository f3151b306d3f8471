"""Results by item: what came of each, whatever is wrong with the others."""

from __future__ import annotations

import asyncio
import io
import logging
import re

import numpy as np
import pytest

from fake_engines import DyingEngine, RecordingEngine
from jina_vllm_integrations import (
    CheckpointError,
    EmptyTextError,
    EngineDiedError,
    ImageFormatError,
    ImageInput,
    ImageNotFoundError,
    InputError,
    ItemTypeError,
    JinaEncoder,
    OptionError,
    PageError,
)
from jina_vllm_integrations.testing import FakeEngine
from jina_vllm_integrations.types import Embedding
from pictures import encoded, noise, picture

GOOD = ["a red circle", picture("red"), "ein blaues Quadrat"]


def cut_image():
    """Return a picture whose header is whole and whose pixels are not: only decoding shows it."""
    return encoded(noise(90, 60))[:-900]


def mixed(tmp_path):
    """Return good and bad items in turns, and the errors of the bad ones by position."""
    items = [GOOD[0], "  ", GOOD[1], tmp_path / "missing.png", cut_image(), GOOD[2], 7, io.StringIO("no picture")]
    return items, {
        1: EmptyTextError,
        3: ImageNotFoundError,
        4: ImageFormatError,
        6: ItemTypeError,
        7: ItemTypeError,
    }


async def every(stream):
    """Return all that an asynchronous iterator yields."""
    return [each async for each in stream]


def assert_each(results, errors, dense):
    """There is a result for each item, in order: a vector, or an error that names it."""
    assert {index: type(each) for index, each in enumerate(results) if isinstance(each, InputError)} == errors
    assert [results[index].index for index in errors] == list(errors)
    found = [each.dense for each in results if isinstance(each, Embedding)]
    np.testing.assert_allclose(np.stack(found), dense, rtol=0, atol=1e-5)


def test_each_item_has_its_vectors_or_its_error(encoder, tmp_path):
    """The bad ones cost the good ones nothing, on every engine, in both colours."""
    items, errors = mixed(tmp_path)
    dense = encoder.embed(GOOD, role="document")
    assert_each(list(encoder.results(iter(items), role="document", output="dense")), errors, dense)
    found = asyncio.run(every(encoder.aresults(items, role="document", output="dense")))
    assert_each(found, errors, dense)


@pytest.mark.parametrize("output", ["dense", "tokens", "both"])
def test_a_result_has_what_was_asked_for(output):
    """And nothing else."""
    encoder = JinaEncoder(FakeEngine(), task="retrieval")
    (result,) = encoder.results(["a text"], role="query", output=output)
    assert (result.dense is not None, result.tokens is not None) == (output != "tokens", output != "dense")


def test_a_readers_error_takes_its_items_place():
    """Whoever reads the items may say that one could not be read; the next ones are embedded all the same."""
    encoder = JinaEncoder(FakeEngine(), task="retrieval")
    unread = PageError("page 2 is damaged.")

    async def items():
        for item in ("a", unread, "b"):
            yield item

    for results in (
        list(encoder.results(["a", unread, "b"], role="document", output="dense")),
        asyncio.run(every(encoder.aresults(items(), role="document", output="dense"))),
    ):
        assert results[1] is unread
        assert unread.index == 1
        np.testing.assert_array_equal([results[0].dense, results[2].dense], encoder.embed(["a", "b"], role="document"))


def test_what_the_iterable_itself_raises_ends_the_results():
    """It belongs to no item: no more come, so it is no result, not even when it is an `InputError`."""
    encoder = JinaEncoder(FakeEngine(), task="retrieval")
    for error in (ValueError("the disk is gone"), InputError("the disk is gone")):

        def items(error=error):
            yield "a"
            yield " "
            raise error

        async def slowly(error=error):
            yield "a"
            yield " "
            raise error

        for on_error in ("raise", "skip"):
            with pytest.raises(type(error), match=r"the disk is gone|must have content"):
                list(encoder.stream(items(), role="document", on_error=on_error))
        found = []
        with pytest.raises(type(error), match="the disk is gone"):
            found.extend(encoder.results(items(), role="document", output="dense"))
        with pytest.raises(type(error), match="the disk is gone"):
            asyncio.run(every(encoder.aresults(slowly(), role="document", output="dense")))
        with pytest.raises(type(error), match="the disk is gone"):
            asyncio.run(every(encoder.aresults(items(), role="document", output="dense")))


def test_an_engines_error_is_no_items():
    """It raises, and says at which item, also where bad items are skipped."""
    for call in (
        lambda encoder, items: list(encoder.results(items, role="document", output="dense")),
        lambda encoder, items: list(encoder.stream(items, role="document", on_error="skip")),
        lambda encoder, items: asyncio.run(every(encoder.aresults(items, role="document", output="dense"))),
        lambda encoder, items: asyncio.run(every(encoder.astream(items, role="document", on_error="skip"))),
    ):
        with pytest.raises(EngineDiedError) as caught:
            call(JinaEncoder(DyingEngine(n_answers=2), task="retrieval"), ["a", "b", " ", "c"])
        assert re.fullmatch("while item [013] was awaited", *caught.value.__notes__)


def test_options_that_do_not_exist_raise_before_anything_is_read():
    """At the call; of `aresults` at its first step."""
    encoder = JinaEncoder(FakeEngine(), task="retrieval")
    unread = iter(["a"])
    with pytest.raises(OptionError, match="role must be one of"):
        encoder.results(unread, role="passage", output="dense")
    for stream in (encoder.stream, encoder.stream_tokens, encoder.stream_both, encoder.astream):
        with pytest.raises(OptionError, match="on_error must be one of 'raise', 'skip', got 'ignore'"):
            stream(unread, role="query", on_error="ignore")
    assert next(unread) == "a"


def test_tokens_need_a_head():
    """Which is said before anything is computed."""
    engine = FakeEngine()
    object.__setattr__(engine.checkpoint, "token_tasks", ())
    with pytest.raises(CheckpointError, match="no multi-vector head"):
        JinaEncoder(engine, task="retrieval").results(["a"], role="query", output="both")


@pytest.mark.parametrize("way", ["stream", "stream_tokens", "stream_both"])
def test_a_stream_skips_bad_items_and_says_so(way, tmp_path, caplog):
    """One warning each, with the file's name where it has one; the list says which and why, and holds no data."""
    items, errors = mixed(tmp_path)
    encoder = JinaEncoder(FakeEngine(), task="retrieval")
    expected = list(getattr(encoder, way)(GOOD, role="document"))
    stream = getattr(encoder, way)(iter(items), role="document", on_error="skip")
    later = getattr(encoder, f"a{way}")(items, role="document", on_error="skip")
    for results, skipped in ((list(stream), stream.skipped), (asyncio.run(every(later)), later.skipped)):
        assert len(results) == len(expected)
        assert {each.index: type(each.error) for each in skipped} == errors
        assert [each.name for each in skipped] == [f"item {index}" for index in errors]
        assert all(each.error.__traceback__ is each.error.__cause__ is None for each in skipped)
    messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 2 * len(errors)
    assert "skipped item 1: a text must have content" in messages[0]
    assert "missing.png" in messages[1]
    assert not any("item 1: item 1" in message for message in messages)


def test_a_stream_stops_at_a_bad_item_unless_told_otherwise(tmp_path):
    """After the results before it, and nothing stays in flight."""
    items, _ = mixed(tmp_path)
    engine = RecordingEngine()
    stream = JinaEncoder(engine, task="retrieval").stream(items, role="document")
    next(stream)
    with pytest.raises(EmptyTextError, match="item 1"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)
    assert stream.skipped == []


def test_results_may_be_left_early():
    """Closing ends the reading of the items, with a million to come."""
    closed = []

    def items():
        try:
            while True:
                yield "a text"
                yield ImageInput("missing.png")
        finally:
            closed.append(True)

    encoder = JinaEncoder(FakeEngine(), task="retrieval")
    results = encoder.results(items(), role="document", output="dense")
    assert [isinstance(next(results), InputError) for _ in range(4)] == [False, True, False, True]
    results.close()
    stream = encoder.stream(items(), role="document", on_error="skip")
    next(stream)
    stream.close()
    del results, stream
    assert closed == [True, True]

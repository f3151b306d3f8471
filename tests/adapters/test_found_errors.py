"""What is done about bad documents among those that a store found."""

from __future__ import annotations

import logging

import pytest

from jina_vllm_integrations import EmptyTextError, OptionError, Ranked
from jina_vllm_integrations.adapters.found import FoundErrors, Placed
from jina_vllm_integrations.foundation.skipping import Skipped
from jina_vllm_integrations.reranking import Ranking

RANKING = Ranking(
    [Ranked(index=2, score=0.5, stored=True), Ranked(index=0, score=0.25, stored=True)],
    skipped=[Skipped(index=1, name="b", error=EmptyTextError("empty"))],
)


@pytest.mark.parametrize(
    ("choice", "k", "expected"),
    [
        ("skip", None, [(2, 0.5), (0, 0.25)]),
        ("last", None, [(2, 0.5), (0, 0.25), (1, None)]),
        ("last", 2, [(2, 0.5), (0, 0.25)]),
        ("skip", 1, [(2, 0.5)]),
    ],
)
def test_where_what_cannot_be_ranked_comes(choice, k, expected):
    """Nowhere, or behind the others without a score, and never in place of one that was ranked."""
    placed = FoundErrors(choice).placed(RANKING, k)
    assert placed == [Placed(index=index, score=score) for index, score in expected]


def test_a_document_is_logged_once(caplog):
    """By its name, however many queries find it; another error of it is another line, and so is a raised one none."""
    errors = FoundErrors("last")
    with caplog.at_level(logging.WARNING, "jina_vllm_integrations"):
        for _ in range(3):
            skipping = errors.skipping(["a", "the page 7"])
            skipping.leave_out(EmptyTextError("is empty.", index=1))
            assert [each.name for each in skipping.skipped] == ["the page 7"]
        errors.skipping(["a", "the page 7"]).leave_out(EmptyTextError("is gone.", index=1))
        with pytest.raises(EmptyTextError):
            FoundErrors("raise").skipping(["a"]).leave_out(EmptyTextError("is empty.", index=0))
    assert [record.getMessage() for record in caplog.records] == [
        "the page 7, which was found, cannot be ranked and is put behind the others: is empty.",
        "the page 7, which was found, cannot be ranked and is put behind the others: is gone.",
    ]


def test_a_choice_that_does_not_exist():
    """It is told when the adapter is made."""
    with pytest.raises(OptionError, match="on_found_error must be one of 'skip', 'last', 'raise', got 'ignore'"):
        FoundErrors("ignore")

"""Fake engines that tests watch, hold up or break."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np

from jina_vllm_integrations import EngineDiedError
from jina_vllm_integrations.testing import FakeEngine


class RecordingEngine(FakeEngine):
    """Notes how many requests came at once, and may wait before it answers.

    Attributes:
        batches: The numbers.
        submitted: Called when some have come.
        at_work: Set when one is being computed.
        may_go_on: Clear it to have all wait.
        spoilt: The text of a document whose token vectors are not finite.
    """

    def __init__(self, **options):
        super().__init__(**options)
        self.batches = []
        self.submitted = lambda: None
        self.at_work = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.spoilt = None

    @property
    def n_requests(self):
        """Return how many requests came."""
        return sum(self.batches)

    def submit(self, requests):
        """Note and compute."""
        if requests:
            self.batches.append(len(requests))
            self.submitted()
        return super().submit(requests)

    def _compute(self, request):
        self.at_work.set()
        assert self.may_go_on.wait(30)
        embedding = super()._compute(request)
        if self.spoilt is not None and self._text(request) == f"Passage: {self.spoilt}":
            embedding.tokens.vectors[0, 0] = np.nan
        return embedding

    def _text(self, request):
        return self.checkpoint.tokenizer.decode(list(request.prompt.token_ids))


class GatheringEngine(FakeEngine):
    """Answers nobody before all are there."""

    def __init__(self, n_requests):
        super().__init__()
        self._n_missing = n_requests
        self._waiting = []

    def submit(self, requests):
        """Keep requests, and answer all when the last has come."""
        answers = [Future() for _ in requests]
        self._waiting += zip(requests, answers, strict=True)
        self._n_missing -= len(requests)
        if self._n_missing == 0:
            for request, answer in self._waiting:
                answer.set_result(self._compute(request))
        return answers


class DyingEngine(FakeEngine):
    """Answers some requests and dies."""

    def __init__(self, n_answers):
        super().__init__()
        self._n_answers = n_answers

    def _compute(self, request):
        with self._lock:
            self._n_answers -= 1
            if self._n_answers < 0:
                raise EngineDiedError("died.")
        return super()._compute(request)


class SilentEngine(FakeEngine):
    """Never answers.

    Attributes:
        asked: Set when a request has come.
        answers: What would be answered.
    """

    def __init__(self):
        super().__init__()
        self.asked = threading.Event()
        self.answers = []

    def submit(self, requests):
        """Promise."""
        answers = [Future() for _ in requests]
        self.answers += answers
        if answers:
            self.asked.set()
        return answers

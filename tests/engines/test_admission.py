"""How much may be in use at once, and whose turn it is: no vLLM here, only an event loop."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_vllm_integrations.engines.admission import Budget


class Use:
    """A task that takes an amount, and holds it until it is told to leave."""

    def __init__(self, budget, amount):
        self.amount = amount
        self.holds = False
        self._leaving = asyncio.Event()
        self._task = asyncio.create_task(self._hold(budget))

    async def _hold(self, budget):
        async with budget.take(self.amount):
            self.holds = True
            try:
                await self._leaving.wait()
            finally:
                self.holds = False

    @property
    def waits(self):
        """Whether its turn is yet to come."""
        return not self.holds and not self._task.done()

    def leave(self):
        """Give back once it can."""
        self._leaving.set()

    def cancel(self):
        """Stop, whether it waits or holds."""
        self._task.cancel()


async def settled():
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def begun(budget, *amounts):
    """Return uses that asked in this order."""
    uses = [Use(budget, amount) for amount in amounts]
    await settled()
    return uses


def holding(uses):
    """Return who holds what was asked for."""
    return [use.holds for use in uses]


def test_who_asks_first_is_served_first():
    """A small amount that would fit does not pass a large one that waits."""

    async def scenario():
        first, large, small = await begun(Budget(10), 6, 8, 1)
        assert holding([first, large, small]) == [True, False, False]
        first.leave()
        await settled()
        assert holding([first, large, small]) == [False, True, True]

    asyncio.run(scenario())


def test_what_fits_does_not_wait():
    """The limit itself is allowed, and one more is not."""

    async def scenario():
        uses = await begun(Budget(10), 3, 3, 4, 1)
        assert holding(uses) == [True, True, True, False]

    asyncio.run(scenario())


def test_more_than_the_limit_passes_alone():
    """Nothing is too large for ever, and nothing else is in use beside it."""

    async def scenario():
        uses = small, large, _ = await begun(Budget(10), 1, 25, 1)
        assert holding(uses) == [True, False, False]
        small.leave()
        await settled()
        assert holding(uses) == [False, True, False]
        large.leave()
        await settled()
        assert holding(uses) == [False, False, True]

    asyncio.run(scenario())


def test_one_that_gives_up_does_not_hold_up_those_behind_it():
    """Once the large one no longer waits, the small one fits: nobody need give anything back first."""

    async def scenario():
        _, large, small = await begun(Budget(10), 6, 8, 1)
        large.cancel()
        await settled()
        assert small.holds

    asyncio.run(scenario())


def test_one_that_gives_up_in_the_moment_of_its_turn_gives_back():
    """Cancelling between the grant and the waking loses nothing of the budget."""

    async def scenario():
        budget = Budget(10)
        first, second, third = await begun(budget, 10, 10, 10)
        first.leave()
        while first.holds:  # noqa: ASYNC110 - step by step: it gives back when it wakes
            await asyncio.sleep(0)
        assert second.waits
        second.cancel()
        await settled()
        assert holding([second, third]) == [False, True]

    asyncio.run(scenario())


def test_cancelled_work_gives_back():
    """What held some of it and was cancelled holds nothing."""

    async def scenario():
        first, second = await begun(Budget(10), 10, 10)
        first.cancel()
        await settled()
        assert second.holds

    asyncio.run(scenario())


def test_an_error_gives_back():
    """The next one does not wait for what failed."""

    async def scenario():
        budget = Budget(10)
        with pytest.raises(ZeroDivisionError):
            async with budget.take(10):
                raise ZeroDivisionError
        (next_one,) = await begun(budget, 10)
        assert next_one.holds

    asyncio.run(scenario())


def test_a_lower_limit_lets_in_less_and_a_higher_one_at_once():
    """What is in use when the limit falls stays so; who waits when it rises goes on without anybody leaving."""

    async def scenario():
        budget = Budget(10)
        uses = await begun(budget, 4, 4)
        budget.limit = 4
        uses += await begun(budget, 4)
        assert holding(uses) == [True, True, False]
        uses[0].leave()
        await settled()
        assert holding(uses) == [False, True, False]
        budget.limit = 8
        await settled()
        assert holding(uses) == [False, True, True]

    asyncio.run(scenario())


_STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "leave", "cancel"]), st.integers(0, 12), st.booleans()), max_size=40
)


@given(_STEPS)
def test_any_interleaving_keeps_the_limit_and_serves_all_in_order(steps):
    """Whatever asks, leaves and is cancelled: never too much in use, never a needless wait, nothing lost at the end."""
    limit = 10

    async def scenario():
        budget = Budget(limit)
        uses = []
        for action, number, is_settled in steps:
            if action == "take":
                uses.append(Use(budget, number))
            elif action == "leave":
                one_of([use for use in uses if use.holds], number, Use.leave)
            else:
                one_of(uses, number, Use.cancel)
            if is_settled:
                await settled()
                check(uses)
        while holders := [use for use in uses if use.holds or use.waits]:
            one_of([use for use in holders if use.holds], 0, Use.leave)
            await settled()
            check(uses)
        (all_of_it,) = await begun(budget, limit)
        assert all_of_it.holds

    def one_of(uses, number, act):
        if uses:
            act(uses[number % len(uses)])

    def check(uses):
        in_use = [use.amount for use in uses if use.holds]
        waiting = [use.amount for use in uses if use.waits]
        assert sum(in_use) <= limit or len([amount for amount in in_use if amount]) == 1
        assert not waiting or (in_use and sum(in_use) + waiting[0] > limit)

    asyncio.run(scenario())

import asyncio
import gc
import weakref

import pytest

from llm_abstractions.loop_clock import LoopClock


@pytest.fixture
def loops():
    made = []

    def new(starts_at: float) -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop()
        real = loop.time
        offset = starts_at - real()
        loop.time = lambda: real() + offset
        made.append(loop)
        return loop

    yield new
    for loop in made:
        loop.close()


def now_in(clock: LoopClock, loop: asyncio.AbstractEventLoop) -> float:
    async def look() -> float:
        return clock.now()

    return loop.run_until_complete(look())


def test_it_tells_the_running_loops_time(loops):
    loop = loops(1_000)

    assert now_in(LoopClock(), loop) == pytest.approx(1_000, abs=60)


def test_it_never_goes_backwards_from_one_loop_to_the_next(loops):
    clock = LoopClock()
    first = now_in(clock, loops(1_000))
    second = loops(0)  # as virtual clocks do

    later = now_in(clock, second)

    assert later >= first
    assert clock.loops == 2
    assert now_in(clock, second) >= later
    assert now_in(clock, loops(5_000)) >= 5_000


def test_outside_any_loop_it_stands_still(loops):
    clock = LoopClock()
    assert clock.now() == 0

    last = now_in(clock, loops(1_000))

    assert clock.now() == clock.now() == last
    assert clock.loops == 1


def test_a_closed_loop_is_noticed_and_not_kept_alive(loops):
    clock = LoopClock()
    loop = asyncio.SelectorEventLoop()
    now_in(clock, loop)
    loop.close()

    clock.now()
    assert clock.loops == 2
    clock.now()
    assert clock.loops == 2

    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None

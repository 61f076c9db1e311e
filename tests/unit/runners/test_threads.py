import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

from orchestration.runners.threads import Threads


@pytest.fixture
def threads():
    pool = Threads(limit=2)
    yield pool
    pool.close()


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "orchestration-function"]


async def test_a_call_runs_in_another_thread_with_the_caller_s_context(threads):
    variable = contextvars.ContextVar("variable")
    variable.set("seen")

    thread, value = await threads.run(lambda: (threading.current_thread(), variable.get()))

    assert thread is not threading.main_thread()
    assert thread.daemon
    assert value == "seen"


@pytest.mark.parametrize("error", [KeyError("boom"), SystemExit(3)])
async def test_what_a_call_raises_is_raised_to_whoever_waits(threads, error):
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        await threads.run(fail)

    assert caught.value is error


async def test_a_stop_iteration_becomes_an_error_that_can_be_awaited(threads):
    with pytest.raises(RuntimeError, match=r"StopIteration\(None\)"):
        await threads.run(lambda: next(iter(())))


async def test_there_are_no_more_threads_than_the_limit_and_the_others_wait(threads):
    running, most, lock, both = 0, 0, threading.Lock(), threading.Barrier(2)

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(5)  # two at once, or this breaks
        with lock:
            running -= 1

    await asyncio.gather(*(threads.run(work) for _ in range(6)))

    assert most == 2


async def test_an_idle_thread_is_used_again(threads):
    names = {await threads.run(threading.get_ident) for _ in range(5)}

    assert len(names) == 1


async def test_a_cancelled_call_is_not_waited_for_and_its_thread_is_replaced(threads):
    started, release = threading.Semaphore(0), threading.Event()

    def hang():
        started.release()
        release.wait(20)

    hanging = [asyncio.create_task(threads.run(hang)) for _ in range(2)]
    for _ in hanging:
        await asyncio.to_thread(started.acquire)
    waiting = asyncio.create_task(threads.run(lambda: "done"))  # no thread is free for it
    for task in hanging:
        task.cancel()
    results = await asyncio.gather(*hanging, return_exceptions=True)

    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert await waiting == "done"
    release.set()
    assert await threads.run(lambda: "again") == "again"


async def test_a_call_cancelled_before_its_turn_is_never_made(threads):
    both, release, made = threading.Barrier(3), threading.Event(), []

    def hold():
        both.wait(5)
        release.wait(5)

    holding = [asyncio.create_task(threads.run(hold)) for _ in range(2)]
    await asyncio.to_thread(both.wait, 5)
    waiting = asyncio.create_task(threads.run(lambda: made.append(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    release.set()
    await asyncio.gather(*holding)
    await threads.run(lambda: None)

    assert made == []


async def test_closing_ends_the_threads_each_after_its_call(threads):
    release = threading.Event()
    before = set(alive())
    holding = asyncio.create_task(threads.run(lambda: release.wait(5)))
    await threads.run(lambda: None)
    mine = [thread for thread in alive() if thread not in before]
    threads.close()
    release.set()

    assert await holding is True
    for thread in mine:
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()


async def test_an_idle_thread_keeps_nothing_of_its_last_caller_alive(threads):
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    await threads.run(lambda kept=thing: None)
    del thing
    await threads.run(lambda: None)
    gc.collect()

    assert gone() is None


def test_a_result_for_a_loop_that_is_closed_is_dropped():
    threads, release, ended = Threads(), threading.Event(), threading.Event()
    others = set(alive())  # of earlier tests, given up on and still in their functions

    def work():
        release.wait(5)
        ended.set()

    async def abandon():
        task = asyncio.create_task(threads.run(work))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(abandon())
    release.set()
    threads.close()
    own = [thread for thread in alive() if thread not in others]
    for thread in own:
        thread.join(5)
    assert not any(thread.is_alive() for thread in own)

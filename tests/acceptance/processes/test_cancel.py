"""However a worker resists, two seconds after its cancellation no process of it is left."""

import asyncio
import textwrap
import time

import pytest

pytestmark = pytest.mark.acceptance

# What the worker does, and how many of its processes say that they are there. {tell} says so.
WORKERS = {
    "ignores SIGTERM": (
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        {tell}
        time.sleep(60)
        """,
        1,
    ),
    "forked twice and left the session": (
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                {tell}
                time.sleep(60)
            os._exit(0)
        os.wait()
        time.sleep(60)
        """,
        1,
    ),
    "forked twice, left the session and ignores SIGTERM": (
        """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                {tell}
                time.sleep(60)
            os._exit(0)
        os.wait()
        time.sleep(60)
        """,
        1,
    ),
    "left the session with a cleared environment": (
        '''
        import os, subprocess, sys, time
        code = """import os, time; os.setsid(); {tell}time.sleep(60)"""
        subprocess.Popen([sys.executable, "-c", code], env={{}})
        time.sleep(60)
        ''',
        1,
    ),
    "has 20 children": (
        """
        import os, time
        for number in range(20):
            if os.fork() == 0:
                if number % 2: os.setsid()
                {tell}
                time.sleep(60)
        time.sleep(60)
        """,
        20,
    ),
    "forks while it is being killed": (
        """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for number in range(200):
            if os.fork() == 0:
                if number % 2: os.setsid()
                if number == 20:
                    {tell}
                time.sleep(60)
            time.sleep(0.01)
        time.sleep(60)
        """,
        1,
    ),
    "forks when it is told to end": (
        """
        import os, signal, time
        def fork(*_):
            for number in range(10):
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(60)
        signal.signal(signal.SIGTERM, fork)
        {tell}
        while True: time.sleep(60)
        """,
        1,
    ),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("worker", WORKERS)
async def test_a_cancelled_worker_is_gone_within_two_seconds(run, tell, told, count, worker, times):
    code, number = WORKERS[worker]
    running = asyncio.create_task(run(textwrap.dedent(code).format(tell=tell)))
    pids = await told[1](number)
    assert count(pids) >= number

    started = time.monotonic()
    for _ in range(times):
        running.cancel()
        for _ in range(3):  # it is on its way when the second one comes
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running

    assert time.monotonic() - started < 2
    assert count(pids) == 0


async def test_twenty_cancelled_at_once_are_gone_within_two_seconds(run, tell, told, count):
    code = textwrap.dedent(WORKERS["forked twice, left the session and ignores SIGTERM"][0]).format(tell=tell)
    running = [asyncio.create_task(run(code)) for _ in range(20)]
    await told[1](20)
    assert count() >= 40

    started = time.monotonic()
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    assert time.monotonic() - started < 2
    assert count() == 0


async def test_one_worker_s_end_spares_the_others(run, tell, told, count):
    hang = f"import time; {tell}time.sleep(60)"
    first, second = (asyncio.create_task(run(hang)) for _ in range(2))
    await told[1](2)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert count() == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    assert count() == 0


async def test_what_holds_the_output_after_a_good_end_is_ended_wherever_it_went(run, tell, told, count):
    code = WORKERS["forked twice and left the session"][0].replace("os.wait()\n        time.sleep(60)", "os.wait()")

    end = await run(textwrap.dedent(code).format(tell=tell))

    assert end.exit_code == 0
    assert await told[1]()
    assert count() == 0

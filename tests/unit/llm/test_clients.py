import asyncio
import gc

import pytest

from llm_abstractions.clients import ClientPool


class Client:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


def builder(made: list[Client]):
    async def build(closers) -> Client:
        await asyncio.sleep(0)
        client = Client()
        closers.push_async_callback(client.aclose)
        made.append(client)
        return client

    return build


async def test_a_thousand_first_calls_at_once_build_once():
    made: list[Client] = []
    async with ClientPool() as pool:
        clients = await asyncio.gather(*(pool.get("a", builder(made)) for _ in range(1000)))

    assert len(made) == 1
    assert {id(client) for client in clients} == {id(made[0])}
    assert made[0].closed == 1


async def test_keys_do_not_share_clients():
    made: list[Client] = []
    async with ClientPool() as pool:
        assert await pool.get("a", builder(made)) is not await pool.get("b", builder(made))
        assert repr(pool) == "<ClientPool of 2 clients>"


async def test_after_a_failed_build_the_next_one_tries():
    made: list[Client] = []

    async def fail(_) -> Client:
        raise OSError

    async with ClientPool() as pool:
        with pytest.raises(OSError):  # noqa: PT011 - bare on purpose
            await pool.get("a", fail)
        assert await pool.get("a", builder(made)) is made[0]


async def test_a_cancelled_builder_leaves_the_build_to_those_who_wait():
    made: list[Client] = []
    started = asyncio.Event()

    async def hang(_) -> Client:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with ClientPool() as pool, asyncio.TaskGroup() as group:
        first = group.create_task(pool.get("a", hang))
        await started.wait()
        second = group.create_task(pool.get("a", builder(made)))
        await asyncio.sleep(0)
        first.cancel()
        assert await second is made[0]


async def test_closing_twice_closes_once_and_the_pool_may_be_used_again():
    made: list[Client] = []
    pool = ClientPool()
    await pool.get("a", builder(made))
    await pool.aclose()
    await pool.aclose()
    await pool.get("a", builder(made))
    await pool.aclose()

    assert [client.closed for client in made] == [1, 1]


async def test_when_one_client_fails_to_close_the_others_are_closed_all_the_same():
    made: list[Client] = []

    async def build_bad(closers) -> Client:
        async def fail() -> None:
            raise OSError

        closers.push_async_callback(fail)
        return Client()

    pool = ClientPool()
    await pool.get("a", builder(made))
    await pool.get("bad", build_bad)
    await pool.get("c", builder(made))
    with pytest.raises(OSError):  # noqa: PT011 - bare on purpose
        await pool.aclose()

    assert [client.closed for client in made] == [1, 1]


async def test_a_client_built_while_the_pool_closes_is_closed_too():
    made: list[Client] = []
    gate, started = asyncio.Event(), asyncio.Event()

    async def slow(closers) -> Client:
        started.set()
        await gate.wait()
        return await builder(made)(closers)

    async def close() -> None:
        await started.wait()
        await pool.aclose()
        gate.set()

    pool = ClientPool()
    late, _ = await asyncio.gather(pool.get("a", slow), close(), return_exceptions=True)

    assert isinstance(late, RuntimeError)
    assert made[0].closed == 1


def test_a_second_loop_starts_afresh_and_lets_go_of_the_first_loops_clients():
    made: list[Client] = []
    pool = ClientPool()

    asyncio.run(_use(pool, made))
    asyncio.run(_use(pool, made))
    assert len(made) == 2
    assert repr(pool) == "<ClientPool of 1 clients>"

    asyncio.run(pool.aclose())
    assert repr(pool) == "<ClientPool of 0 clients>"


async def _use(pool: ClientPool, made: list[Client]) -> None:
    await pool.get("a", builder(made))


async def test_a_pool_nobody_used_closes_quietly():
    await ClientPool().aclose()
    gc.collect()

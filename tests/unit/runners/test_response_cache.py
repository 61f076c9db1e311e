"""The cache of answers, in its real file: what is found again, for how long, and who asks when many want the same."""

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from orchestration import clock
from orchestration.attempt import Deadline
from orchestration.runners.response_cache import CachedAnswer, ResponseCache, responses_path

HOUR_S = 3600.0
ANSWER = CachedAnswer(text="Grüße", provider="anthropic", model="m-1", finish_reason="stop")


@pytest.fixture
def path(tmp_path):
    return responses_path(tmp_path)


@pytest.fixture
async def cache(path):
    made = ResponseCache(path)
    yield made
    await made.aclose()


class Calendar:
    """A clock that the test moves."""

    def __init__(self):
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        self.at += timedelta(microseconds=1)
        return self.at

    def pass_s(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def calendar():
    return Calendar()


async def ask(cache, key, answer=ANSWER, *, max_age_s=HOUR_S):
    """Return what is there; keep `answer` where nothing is."""
    async with cache.turn(key, max_age_s, Deadline()) as turn:
        found = turn.answer
        if found is None and answer is not None:
            turn.keep(answer)
    return found


async def found(cache, *keys):
    return [key for key in keys if await ask(cache, key, None) is not None]


async def test_an_answer_is_found_again_also_by_the_next_run(path, cache):
    assert await ask(cache, "k") is None
    assert await ask(cache, "k") == ANSWER
    assert await ask(cache, "other", None) is None
    await cache.aclose()

    later = ResponseCache(path)
    assert await ask(later, "k") == ANSWER
    await later.aclose()
    await later.aclose()


async def test_a_cache_that_was_closed_opens_again(cache):
    await ask(cache, "k")
    await cache.aclose()
    assert await ask(cache, "k") == ANSWER


async def test_without_a_folder_answers_are_kept_while_it_is_open():
    cache = ResponseCache(None)
    await ask(cache, "k")
    assert await ask(cache, "k") == ANSWER
    await cache.aclose()
    assert await ask(cache, "k", None) is None
    await cache.aclose()


async def test_an_answer_that_is_too_old_is_asked_for_anew(cache, calendar):
    newer = CachedAnswer(text="newer")
    with clock.kept_by(calendar):
        await ask(cache, "k")
        calendar.pass_s(59)
        assert await ask(cache, "k", max_age_s=60) == ANSWER  # using it does not make it younger
        calendar.pass_s(2)
        assert await ask(cache, "k", newer, max_age_s=60) is None
        assert await ask(cache, "k", max_age_s=60) == newer


async def test_the_least_recently_used_answers_go_when_the_limit_is_reached(path, calendar):
    cache = ResponseCache(path, max_bytes=1_200)
    big = CachedAnswer(text="x" * 280)
    with clock.kept_by(calendar):
        for key in "abc":
            await ask(cache, key, big)
        assert await found(cache, "a") == ["a"]
        await ask(cache, "d", big)
        assert await found(cache, "a", "b", "c", "d") == ["a", "c", "d"]
        await ask(cache, "small", CachedAnswer(text="y"))
        assert await found(cache, "a", "b", "c", "d", "small") == ["a", "c", "d", "small"]
    await cache.aclose()

    with sqlite3.connect(path) as connection:
        (size,) = connection.execute("SELECT SUM(size) FROM answers_1").fetchone()
    connection.close()
    assert 1_000 < size <= 1_200


async def test_an_answer_larger_than_the_limit_pushes_nothing_out(path):
    cache = ResponseCache(path, max_bytes=1_000)
    await ask(cache, "k")
    await ask(cache, "huge", CachedAnswer(text="x" * 1_000))
    assert await found(cache, "k", "huge") == ["k"]
    await cache.aclose()


async def test_of_equal_requests_at_once_one_asks_and_all_get_its_answer(cache):
    asked, has_asked, gate = [], asyncio.Event(), asyncio.Event()

    async def one(number):
        async with cache.turn("k", HOUR_S, Deadline()) as turn:
            if turn.answer is None:
                asked.append(number)
                has_asked.set()
                await gate.wait()
                turn.keep(ANSWER)
            return turn.answer

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(20)]
        await has_asked.wait()
        gate.set()

    assert asked == [0]
    assert {task.result() for task in tasks} == {ANSWER}


async def test_when_the_one_that_asks_fails_the_next_asks(cache):
    asked = []

    async def one(number):
        async with cache.turn("k", HOUR_S, Deadline()) as turn:
            if turn.answer is None:
                asked.append(number)
                await asyncio.sleep(0)
                if number == 0:
                    raise ConnectionError
                if number > 1:  # it keeps nothing: its answer was cut, for example
                    turn.keep(ANSWER)
            return turn.answer

    results = await asyncio.gather(*(one(number) for number in range(5)), return_exceptions=True)

    assert asked == [0, 1, 2]
    assert isinstance(results[0], ConnectionError)
    assert results[1:] == [None, ANSWER, ANSWER, ANSWER]


@pytest.mark.parametrize("steps", range(12))
async def test_whoever_is_cancelled_whenever_the_others_get_their_answer(path, steps):
    cache = ResponseCache(path)

    async def one():
        async with cache.turn("k", HOUR_S, Deadline()) as turn:
            if turn.answer is None:
                await asyncio.sleep(0)
                turn.keep(ANSWER)
            return turn.answer

    tasks = [asyncio.create_task(one()) for _ in range(3)]
    for _ in range(steps):
        await asyncio.sleep(0)
    tasks[steps % 2].cancel()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)

    assert results.count(ANSWER) >= 2
    assert all(isinstance(result, asyncio.CancelledError) for result in results if result != ANSWER)
    assert cache._turns == {}
    assert await ask(cache, "k", None) == ANSWER
    await cache.aclose()


async def test_requests_that_allow_other_ages_do_not_share_a_turn(cache, calendar):
    with clock.kept_by(calendar):
        await ask(cache, "k")
        calendar.pass_s(100)
        async with cache.turn("k", HOUR_S, Deadline()) as lenient, cache.turn("k", 60.0, Deadline()) as strict:
            assert lenient.answer == ANSWER
            assert strict.answer is None


@pytest.mark.looptime
async def test_waiting_for_another_s_answer_does_not_count_as_the_task_s_time():
    cache = ResponseCache(None)

    async def wait():
        async with asyncio.timeout(5) as timeout, cache.turn("k", HOUR_S, Deadline(timeout)) as turn:
            return turn.answer

    async with asyncio.TaskGroup() as group, cache.turn("k", HOUR_S, Deadline()) as turn:
        waiting = group.create_task(wait())
        await asyncio.sleep(60)
        turn.keep(ANSWER)

    assert waiting.result() == ANSWER
    await cache.aclose()


async def test_a_damaged_file_is_told_once_and_done_without(path, caplog):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"This is no database, but long enough to be taken for one. " * 50)
    cache = ResponseCache(path)

    assert await ask(cache, "k") is None
    assert await ask(cache, "k") is None
    await cache.aclose()

    (record,) = caplog.records
    assert "answers.cache" in record.getMessage()
    assert "file is not a database; delete the file if it is damaged" in record.getMessage()


async def test_an_answer_that_cannot_be_read_is_done_without(path, cache, caplog):
    await ask(cache, "k")
    await cache.aclose()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE answers_1 SET body = '{\"text\": 7}'")
    connection.close()

    assert await ask(cache, "k") is None
    assert "cannot be used" in caplog.text


async def test_a_disk_that_takes_no_more_loses_the_cache_and_no_answer(path, cache, caplog):
    await ask(cache, "k")
    await cache._attempt(lambda: cache._connection.execute("PRAGMA max_page_count = 1"))

    assert await ask(cache, "big", CachedAnswer(text="x" * 1_000_000)) is None

    assert "full" in caplog.text
    assert await ask(cache, "k", None) is None
    await cache.aclose()
    cache = ResponseCache(path)
    assert await found(cache, "k", "big") == ["k"]
    await cache.aclose()


async def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, caplog):
    (tmp_path / ".orchestration").write_text("in the way")
    cache = ResponseCache(responses_path(tmp_path))

    assert await ask(cache, "k") is None
    assert "cannot be used" in caplog.text
    await cache.aclose()


async def test_a_file_that_another_has_open_is_done_without(path, cache, caplog):
    await ask(cache, "k")
    second = ResponseCache(path)

    assert await ask(second, "k", None) is None
    assert "is open in another" in caplog.text
    await second.aclose()
    assert await ask(cache, "k") == ANSWER


async def test_its_file_is_not_taken_for_a_project_s_state(path, cache):
    await ask(cache, "k")

    assert path.is_file()
    assert list(path.parent.glob("*.db")) == []

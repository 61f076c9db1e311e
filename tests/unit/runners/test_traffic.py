"""Admission of model calls: lane first, then budget; whatever happens, both are settled."""

import asyncio
import errno
import socket
from decimal import Decimal

import pytest
from msgspec import structs

import llm_abstractions.prices
from llm_abstractions.errors import (
    ERRORS_BY_KIND,
    AuthError,
    ConnectionFailedError,
    LlmError,
    OverloadedError,
    QuotaError,
    RateLimitError,
)
from llm_abstractions.errors import FailureKind as LlmFailureKind
from llm_abstractions.lane import LaneLimits
from llm_abstractions.types import Completion, Usage
from orchestration.agent_registry import AgentType
from orchestration.attempt import Deadline
from orchestration.clock import now
from orchestration.errors import AttemptError, FailureKind
from orchestration.events import CallFinished, CallLost
from orchestration.runners.traffic import BUDGETED_MAX_TOKENS, Call, Traffic

pytestmark = pytest.mark.looptime

UNCHARGED = {"rate_limit", "quota", "overloaded", "auth", "context_length", "bad_request"}


class Purse:
    """Gives leave as told, and remembers what it was asked."""

    on_limit = "stop"

    def __init__(self, *, applies=True, refusal=None, takes_s=0.0):
        self.applies, self.refusal, self.takes_s = applies, refusal, takes_s
        self.asked, self.released, self.granted = [], [], 0

    def tags_of(self, task_id):
        return ()

    def applies_to(self, task_id, agent):
        return self.applies

    async def reserve(self, task_id, agent, worst):
        self.asked.append((task_id, agent, worst))
        await asyncio.sleep(self.takes_s)
        if self.refusal:
            raise self.refusal
        self.granted += 1
        return "c1"

    def release(self, call_id):
        self.released.append(call_id)


@pytest.fixture
def purse():
    return Purse()


@pytest.fixture
def traffic():
    return Traffic({"anthropic": LaneLimits(concurrency=1)})


@pytest.fixture
def work(make_work, purse):
    return make_work(AgentType.ANTHROPIC_CLAUDE, context={"purse": purse})


def call(**fields):
    known = {"provider": "anthropic", "account": "", "model": "claude-sonnet-4-5", "max_tokens": None}
    return Call(**(known | {"prompt_chars": 400, "prompt_bytes": 400} | fields))


def lane(traffic):
    return traffic.lane_of(call())


def assert_settled(traffic, under_way=0):
    status = lane(traffic).status()
    assert (status.under_way, status.waiting) == (under_way, 0)


async def admit(traffic, work, body=None, **fields):
    async with traffic.admit(work, call(**fields)) as admission:
        if isinstance(body, BaseException):
            raise body
        return await body(admission) if body else admission


async def finish(admission):
    admission.succeed(Completion("x", usage=Usage(input_tokens=100, output_tokens=5)))
    admission.book(
        CallFinished(at=now(), task_id="draft", attempt=1, provider="p", model="m", call_id=admission.call_id)
    )
    return "an answer"


async def test_a_call_is_reserved_at_its_worst_case_for_the_model_that_bills(traffic, work, purse):
    assert await admit(traffic, work, finish) == "an answer"

    ((task_id, agent, worst),) = purse.asked
    assert (task_id, agent) == ("draft", "writer")
    assert (worst.input_tokens, worst.output_tokens) == (400 + 512, BUDGETED_MAX_TOKENS)
    plain = Usage(input_tokens=912, output_tokens=BUDGETED_MAX_TOKENS)
    assert worst.cost_usd > await llm_abstractions.prices.cost_usd("anthropic", "claude-sonnet-4-5", plain)
    assert_settled(traffic)


async def test_the_longest_answer_is_the_one_asked_for(traffic, work, purse):
    await admit(traffic, work, finish, max_tokens=9)
    assert purse.asked[0][2].output_tokens == 9


@pytest.mark.parametrize(("provider", "model", "cost"), [("openai", "no-such-model", None), ("local", "m", Decimal(0))])
async def test_an_unknown_price_stays_unknown_and_a_model_of_one_s_own_is_free(
    traffic, work, purse, provider, model, cost
):
    await admit(traffic, work, finish, provider=provider, model=model)
    assert purse.asked[0][2].cost_usd == cost


async def test_where_no_budget_applies_nothing_is_reserved(traffic, work, purse, reports):
    purse.applies = False
    admission = await admit(traffic, work)
    assert (admission.call_id, purse.asked, purse.released, reports) == ("", [], [], [])
    without = structs.replace(work, context=structs.replace(work.context, purse=None))
    assert (await admit(traffic, without)).call_id == ""


async def test_a_call_that_is_booked_is_settled(traffic, work, purse, reports):
    await admit(traffic, work, finish)
    assert [type(fact) for fact in reports] == [CallFinished]
    assert purse.released == []


async def test_a_call_that_says_nothing_of_its_cost_is_lost(traffic, work, purse, reports):
    await admit(traffic, work)
    assert [(type(fact), fact.call_id) for fact in reports] == [(CallLost, "c1")]


@pytest.mark.parametrize("kind", ERRORS_BY_KIND)
async def test_a_failed_call_is_given_back_where_providers_do_not_charge_and_lost_where_nobody_can_tell(
    traffic, work, purse, reports, kind
):
    with pytest.raises(LlmError):
        await admit(traffic, work, ERRORS_BY_KIND[kind]("no"))

    lost = [fact.call_id for fact in reports if isinstance(fact, CallLost)]
    assert (purse.released, lost) == ((["c1"], []) if kind.value in UNCHARGED else ([], ["c1"]))
    assert_settled(traffic)


@pytest.mark.parametrize(
    ("cause", "is_lost"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False),
        (OSError(errno.ENETUNREACH, "unreachable"), False),
        (socket.gaierror(-2, "no such host"), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (None, True),
    ],
)
async def test_a_connection_that_was_never_made_has_cost_nothing(traffic, work, purse, reports, cause, is_lost):
    error = ConnectionFailedError("no connection")
    error.__cause__ = RuntimeError("of the SDK")
    error.__cause__.__cause__ = cause

    with pytest.raises(ConnectionFailedError):
        await admit(traffic, work, error)

    assert purse.released == ([] if is_lost else ["c1"])
    assert len(reports) == is_lost


@pytest.mark.parametrize("error", [ValueError("a bug"), AttemptError("no text", kind=FailureKind.TASK_ERROR)])
async def test_a_call_that_ends_in_any_other_way_is_lost(traffic, work, reports, error):
    with pytest.raises(type(error)):
        await admit(traffic, work, error)
    assert [type(fact) for fact in reports] == [CallLost]
    assert_settled(traffic)


async def test_what_was_booked_before_a_failure_stays_booked(traffic, work, purse, reports):
    async def answered_and_failed(admission):
        await finish(admission)
        raise ERRORS_BY_KIND[LlmFailureKind.BAD_REQUEST]("no")

    with pytest.raises(LlmError):
        await admit(traffic, work, answered_and_failed)
    assert (purse.released, [type(fact) for fact in reports]) == ([], [CallFinished])


async def test_a_refused_reservation_gives_the_permit_back_unused(traffic, work, purse):
    purse.refusal = AttemptError("used up", kind=FailureKind.BUDGET)
    with pytest.raises(AttemptError, match="used up"):
        await admit(traffic, work)
    assert_settled(traffic)


async def test_a_task_s_time_stands_still_while_it_waits_for_its_turn_but_not_during_the_call(traffic, work, purse):
    purse.takes_s = 1_000
    holder = await lane(traffic).acquire()
    asyncio.get_running_loop().call_later(1_000, holder.succeed)

    async def slow(_admission):
        await asyncio.sleep(100)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10) as timeout:
            await admit(traffic, structs.replace(work, deadline=Deadline(timeout)), slow)
    assert asyncio.get_running_loop().time() == 2_010
    assert_settled(traffic)


async def test_the_lane_learns_from_answers_and_a_plain_text_is_one(traffic, work):
    async def plain(admission):
        admission.succeed("text")
        admission.succeed("again")

    for body in (finish, plain, finish):
        await admit(traffic, work, body)
    assert lane(traffic).estimate(400, None, "writer").output_tokens == 5
    for _ in range(2):
        with pytest.raises(OverloadedError):
            await admit(traffic, work, OverloadedError("busy"))
    await admit(traffic, work, plain)
    assert lane(traffic).closed_by is None


async def test_money_that_is_gone_stops_the_lane_until_it_is_reopened(traffic, work, purse):
    with pytest.raises(QuotaError):
        await admit(traffic, work, QuotaError("insufficient_quota"))

    with pytest.raises(QuotaError, match=r"not sent.*insufficient_quota"):
        await admit(traffic, work)
    assert len(purse.asked) == 1
    traffic.reopen()
    await admit(traffic, work, finish)


async def test_a_quota_that_comes_back_stops_the_lane_until_then_for_those_who_wait_too(traffic, work):
    async def used_up(_admission):
        await asyncio.sleep(1)
        raise QuotaError("daily quota", retry_after_s=600)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(caught(admit(traffic, work, used_up))) for _ in range(3)]
    assert [(type(task.result()), round(task.result().retry_after_s)) for task in asking] == [(QuotaError, 600)] * 3
    assert asyncio.get_running_loop().time() == 1
    await asyncio.sleep(600)
    await admit(traffic, work, finish)


async def caught(waiting):
    with pytest.raises(LlmError) as error:
        await waiting
    return error.value


async def test_reopening_forgives_failures_but_ends_no_pause(traffic, work):
    for _ in range(3):
        await caught(admit(traffic, work, AuthError("bad key")))
    with pytest.raises(AuthError, match="not sent"):
        await admit(traffic, work)
    await caught(admit(traffic, work, RateLimitError("slow down", retry_after_s=30), model="claude-sonnet-4"))

    traffic.reopen()
    await admit(traffic, work, finish)
    assert 30 <= asyncio.get_running_loop().time() <= 33


async def test_who_has_a_fallback_leaves_the_lane_in_an_outage(traffic, work):
    impatient = structs.replace(work, leave_on=frozenset({FailureKind.OVERLOADED, FailureKind.CONTEXT_LENGTH}))
    for _ in range(2):
        await caught(admit(traffic, work, OverloadedError("busy")))

    assert isinstance(await caught(admit(traffic, impatient)), OverloadedError)
    assert asyncio.get_running_loop().time() == 0
    await admit(traffic, work, finish)  # waits
    assert asyncio.get_running_loop().time() >= 1


async def test_whenever_a_call_is_cancelled_neither_permit_nor_reservation_leaks(traffic, work, purse, reports):
    purse.takes_s = 1

    async def slow(admission):
        await asyncio.sleep(1)
        return await finish(admission)

    for step in range(12):
        holder = await lane(traffic).acquire()
        calls = [asyncio.create_task(admit(traffic, work, slow)) for _ in range(2)]
        asyncio.get_running_loop().call_later(0.6, holder.cancel)
        await asyncio.sleep(0.5 * step + 0.25)
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        holder.cancel()
        assert_settled(traffic)
        assert purse.granted == len(purse.released) + len(reports)
    assert {type(fact) for fact in reports} == {CallFinished, CallLost}

"""People in their own time: who is told when, and what becomes of a task whose time is over. On a virtual clock."""

import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration import events as ev
from orchestration.clock import kept_by, now
from orchestration.errors import FailureKind, StoreError
from orchestration.fold import fold
from orchestration.journal import Journal
from orchestration.store.memory import MemoryStore
from orchestration.task import AddsTasks, AgentTask, Check, ExecutionResult, TaskStatus, Wait
from orchestration.views.advice import next_step
from orchestration.waiting import LAST_WORDS_S, WaitingRoom, asked, calls_due, deadline_of, next_moment

pytestmark = pytest.mark.looptime

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = 3600.0
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


class Calendar:
    """The loop's time as a date, never the same moment twice; `set_back_s` is by how much a person turned it back."""

    def __init__(self):
        self.set_back_s = 0.0
        self._asked = 0

    def __call__(self):
        self._asked += 1
        seconds = asyncio.get_running_loop().time() - self.set_back_s
        return START + timedelta(seconds=round(seconds, 3), microseconds=self._asked % 1000)


class Channel:
    """Takes `seconds` to tell someone; `problems` is what goes wrong, one after the other."""

    def __init__(self, *, seconds=0.0, problems=()):
        self.seconds = seconds
        self.problems = list(problems)
        self.told, self.at_once, self.most = [], 0, 0

    async def tell(self, call):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        self.told.append((round(asyncio.get_running_loop().time()), call.occasion, call.known.task.task_id))
        return self.problems.pop(0) if self.problems else ""


@pytest.fixture
def calendar():
    made = Calendar()
    with ExitStack() as stack:
        stack.enter_context(kept_by(made))
        yield made


@pytest.fixture
async def journal(calendar):
    made = Journal(MemoryStore())
    made.open()
    yield made
    await made.aclose()


def ask(journal, task_id="a", *, need="answer", output="?", metadata=None, **fields):
    """Have a task wait for a person."""
    if task_id not in journal.state.tasks:
        journal.record(ev.TaskAdded(at=now(), task=AgentTask(task_id, task_id, **fields)))
    attempt = journal.state.tasks[task_id].attempt + 1
    journal.record(ev.TaskStarted(at=now(), task_id=task_id, attempt=attempt, agent="person"))
    result = ExecutionResult(task_id, output=output, metadata=metadata or {})
    if need == "review":
        journal.record(ev.TaskNeedsReview(at=now(), task_id=task_id, cause="effect", reason="who knows"))
    else:
        journal.record(ev.TaskWaiting(at=now(), task_id=task_id, need=need, result=result))


async def stay(journal, seconds, channel=None, *, meanwhile=None):
    """Let the room work for so long; `meanwhile` maps moments to what is done then."""
    stopping = asyncio.Event()
    room = WaitingRoom(journal, channel)
    await room.make_up()
    async with asyncio.TaskGroup() as group:
        group.create_task(room.run(stopping))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for moment, deed in (meanwhile or {}).items():
            await asyncio.sleep(began + moment - loop.time())
            deed()
        await asyncio.sleep(began + seconds - loop.time())
        stopping.set()


def status(journal, task_id="a"):
    return journal.state.tasks[task_id].status


def facts(journal, kind):
    return [event for event in journal._store._events if isinstance(event, kind)]


class TestWhoWaits:
    async def test_overdue_tasks_come_first_then_those_that_have_waited_longest(self, journal, calendar):
        ask(journal, "old")
        await asyncio.sleep(HOUR)
        ask(journal, "late", wait=Wait(deadline_s=60))
        ask(journal, "new")
        await asyncio.sleep(HOUR)
        found = asked(journal.state, now())
        assert [(each.known.task.task_id, each.is_overdue) for each in found] == [
            ("late", True),
            ("old", False),
            ("new", False),
        ]
        assert round(found[1].waited_s) == 2 * HOUR

    async def test_what_it_holds_up_is_counted_and_what_it_alone_holds_up_is_named(self, journal):
        ask(journal, "a")
        ask(journal, "b")
        for name, edges in {"only-a": ("a",), "both": ("a", "b"), "later": ("only-a",), "free": ()}.items():
            journal.record(ev.TaskAdded(at=now(), task=AgentTask(name, name, dependencies=edges)))
        first = asked(journal.state, now())[0]
        assert (first.known.task.task_id, first.blocks, first.frees) == ("a", 3, ("only-a",))

    async def test_a_dependency_that_does_not_exist_frees_nothing(self, journal):
        ask(journal, "a")
        journal.record(ev.TaskAdded(at=now(), task=AgentTask("b", "b", dependencies=("a", "nobody"))))
        assert asked(journal.state, now())[0].frees == ()

    async def test_nobody_waits_in_a_project_where_nobody_was_asked(self, journal):
        journal.record(ev.TaskAdded(at=now(), task=AgentTask("a", "a")))
        assert asked(journal.state, now()) == []
        assert next_moment(journal.state.unordered()) is None

    async def test_a_review_has_no_deadline(self, journal):
        ask(journal, need="review", wait=Wait(deadline_s=1))
        assert deadline_of(journal.state.tasks["a"]) is None
        await stay(journal, HOUR)
        assert status(journal) is TaskStatus.NEEDS_REVIEW


class TestDeadlines:
    async def test_the_default_counts_at_the_deadline_and_not_before(self, journal):
        ask(journal, wait=Wait(deadline_s=HOUR, default="go on"))
        seen = []
        await stay(
            journal,
            2 * HOUR,
            meanwhile={HOUR - 1: lambda: seen.append(status(journal)), HOUR + 1: lambda: seen.append(status(journal))},
        )
        assert seen == [TaskStatus.WAITING, TaskStatus.COMPLETED]
        (done,) = facts(journal, ev.TaskCompleted)
        assert (done.by, done.result.output) == ("default", "go on")
        assert done.at - START == pytest.approx(timedelta(seconds=HOUR), abs=timedelta(seconds=1))

    async def test_without_a_default_it_fails_and_says_since_when_it_waited(self, journal):
        ask(journal, wait=Wait(deadline_s=60))
        await stay(journal, 61)
        result = journal.state.tasks["a"].result
        assert status(journal) is TaskStatus.FAILED
        assert result.failure_kind is FailureKind.TIMEOUT
        assert "it waited for a person since 2026-03-01 12:00 UTC" in result.error

    async def test_a_draft_is_accepted_by_the_default_approve_with_all_that_is_known_of_it(self, journal):
        wait, metadata = Wait(deadline_s=60, default="approve"), {"model": "m", "asks": "Is it good?"}
        ask(journal, need="approval", output="the draft", metadata=metadata, checks=(Check(person=True),), wait=wait)
        await stay(journal, 61)
        result = journal.state.tasks["a"].result
        assert (result.output, result.metadata["model"]) == ("the draft", "m")
        assert "asks" not in result.metadata
        assert facts(journal, ev.TaskCompleted)[0].by == "default"

    async def test_any_other_default_takes_the_place_of_the_draft(self, journal):
        ask(journal, need="approval", output="the draft", wait=Wait(deadline_s=60, default="nothing to say"))
        await stay(journal, 61)
        assert journal.state.tasks["a"].result.output == "nothing to say"

    async def test_a_default_is_read_as_the_data_its_schema_asks_for(self, journal):
        ask(journal, output_schema=SCHEMA, wait=Wait(deadline_s=60, default='{"ok": true}'))
        await stay(journal, 61)
        assert journal.state.tasks["a"].result.metadata["data"] == {"ok": True}

    async def test_a_task_that_nobody_answered_is_told_from_one_whose_worker_took_too_long(self, journal):
        ask(journal, wait=Wait(deadline_s=60))
        await stay(journal, 61)
        assert "deadline_s under `wait`" in next_step(journal.state.tasks["a"])

    async def test_a_default_of_the_wrong_form_fails_the_task_and_says_so(self, journal):
        ask(journal, output_schema=SCHEMA, wait=Wait(deadline_s=60, default="yes"))
        await stay(journal, 61)
        result = journal.state.tasks["a"].result
        assert result.failure_kind is FailureKind.BAD_OUTPUT
        assert "the default cannot be used" in result.error

    @pytest.mark.parametrize(
        "fields", [{"checks": (Check(matches="yes"),)}, {"adds_tasks": AddsTasks()}, {"metadata_of_draft": True}]
    )
    async def test_a_default_goes_through_what_a_persons_word_goes_through(self, journal, fields):
        metadata = {"workspace": {"branch": "b"}} if fields.pop("metadata_of_draft", None) else {}
        wait = Wait(deadline_s=60, default="approve")
        ask(journal, need="approval", output="yes", metadata=metadata, wait=wait, **fields)
        await stay(journal, 61)
        known = journal.state.tasks["a"]
        assert (known.status, known.is_approved, known.claim.output) == (TaskStatus.PENDING, True, "yes")

    async def test_a_deadline_beyond_all_calendars_is_none(self, journal):
        channel = Channel()
        ask(journal, wait=Wait(deadline_s=1e300, remind_every_s=1e12))
        await stay(journal, HOUR, channel)
        assert status(journal) is TaskStatus.WAITING
        assert asked(journal.state, now())[0].deadline is None
        assert len(channel.told) == 1

    async def test_an_answer_before_the_deadline_stands(self, journal):
        ask(journal, wait=Wait(deadline_s=60, default="no"))
        answer = ExecutionResult("a", output="yes")
        await stay(
            journal,
            HOUR,
            meanwhile={59: lambda: journal.record(ev.TaskCompleted(at=now(), task_id="a", result=answer, by="person"))},
        )
        assert [event.result.output for event in facts(journal, ev.TaskCompleted)] == ["yes"]

    async def test_an_answer_while_the_default_is_read_stands(self, journal):
        ask(journal, output_schema=SCHEMA, wait=Wait(deadline_s=60, default='{"ok": false}'))
        await asyncio.sleep(61)
        answer = ExecutionResult("a", output='{"ok": true}')
        async with asyncio.TaskGroup() as group:
            group.create_task(WaitingRoom(journal).make_up())
            await asyncio.sleep(0)  # it has begun to read the default's form
            journal.record(ev.TaskCompleted(at=now(), task_id="a", result=answer, by="person"))
        assert [event.by for event in facts(journal, ev.TaskCompleted)] == ["person"]

    async def test_a_deadline_that_passed_while_nobody_ran_is_made_up_before_the_work_begins(self, journal):
        ask(journal, wait=Wait(deadline_s=60, default="no"))
        await asyncio.sleep(24 * HOUR)
        await WaitingRoom(journal).make_up()
        assert status(journal) is TaskStatus.COMPLETED

    async def test_a_task_that_begins_to_wait_later_is_kept_time_of_from_then_on(self, journal):
        begin = {HOUR: lambda: ask(journal, wait=Wait(deadline_s=60))}
        await stay(journal, HOUR + 59, meanwhile=begin)
        assert status(journal) is TaskStatus.WAITING
        await stay(journal, 2)
        assert status(journal) is TaskStatus.FAILED

    async def test_a_computer_that_slept_finds_the_deadline_soon_after(self, journal, calendar):
        ask(journal, wait=Wait(deadline_s=24 * HOUR))

        def wake():
            calendar.set_back_s = -25 * HOUR  # the calendar went on, the timer did not

        await stay(journal, 700, meanwhile={10: wake})
        assert status(journal) is TaskStatus.FAILED

    async def test_a_store_that_fails_ends_the_room_with_its_error(self, journal):
        ask(journal, wait=Wait(deadline_s=60))
        room = WaitingRoom(journal)
        await journal.aclose()
        with pytest.raises(StoreError):
            await room.run(asyncio.Event())


class TestTelling:
    async def test_each_task_is_told_of_once_and_that_is_kept(self, journal):
        channel = Channel()
        ask(journal, "a")
        ask(journal, "b", need="review")
        await stay(journal, HOUR, channel, meanwhile={60: lambda: ask(journal, "c")})
        assert channel.told == [(0, "asked", "a"), (0, "asked", "b"), (60, "asked", "c")]
        await stay(journal, HOUR, channel)
        assert len(channel.told) == 3
        assert [event.occasion for event in facts(journal, ev.PersonNotified)] == ["asked"] * 3

    async def test_reminders_come_at_their_moments_until_somebody_answers(self, journal):
        channel = Channel()
        ask(journal, wait=Wait(remind_every_s=HOUR))
        answer = ExecutionResult("a", output="yes")
        done = {3.5 * HOUR: lambda: journal.record(ev.TaskCompleted(at=now(), task_id="a", result=answer, by="person"))}
        await stay(journal, 10 * HOUR, channel, meanwhile=done)
        assert channel.told == [(0, "asked", "a")] + [(hours * HOUR, "reminder", "a") for hours in (1, 2, 3)]

    async def test_reminders_missed_while_nobody_ran_are_one(self, journal):
        channel = Channel()
        ask(journal, wait=Wait(remind_every_s=HOUR))
        await stay(journal, 1, channel)
        await asyncio.sleep(100 * HOUR)
        await stay(journal, 0.9 * HOUR, channel)
        assert [occasion for _, occasion, _ in channel.told] == ["asked", "reminder"]

    async def test_without_a_channel_reminders_are_still_facts_for_views(self, journal):
        ask(journal, wait=Wait(remind_every_s=HOUR))
        await stay(journal, 2.5 * HOUR)
        assert [event.occasion for event in facts(journal, ev.PersonNotified)] == ["reminder", "reminder"]

    async def test_a_clock_that_is_set_back_never_repeats_a_reminder(self, journal, calendar):
        channel = Channel()
        ask(journal, wait=Wait(remind_every_s=HOUR))

        def set_back():
            calendar.set_back_s = 5 * HOUR

        await stay(journal, 20 * HOUR, channel, meanwhile={1.5 * HOUR: set_back})
        told = [moment for moment, _, _ in channel.told]
        assert told[:2] == [0, HOUR]
        assert all(later - earlier >= HOUR for earlier, later in pairwise(told))
        assert len(told) > 5  # and they go on

    async def test_what_could_not_be_told_is_kept_with_the_reason_and_told_at_the_next_reminder(self, journal, caplog):
        channel = Channel(problems=["no route to anybody"])
        ask(journal, wait=Wait(remind_every_s=HOUR))
        await stay(journal, 1.5 * HOUR, channel)
        assert [event.error for event in facts(journal, ev.PersonNotified)] == ["no route to anybody", ""]
        assert "nobody was told that task 'a' waits: no route to anybody" in caplog.text

    async def test_a_channel_that_breaks_is_a_reason_like_any_other(self, journal):
        class Broken:
            async def tell(self, _call):
                raise RuntimeError("half a sign: \ud800" + "x" * 5_000)

        ask(journal)
        await stay(journal, 60, Broken())
        (told,) = facts(journal, ev.PersonNotified)
        assert told.error.startswith("RuntimeError: half a sign: \\ud800x")
        assert len(told.error) < 1_100
        assert ev.decode(ev.encode(told)) == told

    async def test_one_at_a_time_is_told_and_a_slow_channel_keeps_no_deadline_waiting(self, journal):
        channel = Channel(seconds=30)
        for name in "abc":
            ask(journal, name, wait=Wait(deadline_s=10, default="x"))
        seen = []
        await stay(journal, 200, channel, meanwhile={11: lambda: seen.extend(status(journal, name) for name in "abc")})
        assert seen == [TaskStatus.COMPLETED] * 3
        assert channel.most == 1

    async def test_a_reminder_that_came_due_several_times_behind_a_slow_channel_is_given_once(self, journal):
        channel = Channel(seconds=100)
        ask(journal, "a", wait=Wait(remind_every_s=10))
        await stay(journal, 315, channel)
        assert channel.told == [(100, "asked", "a"), (210, "reminder", "a"), (320, "reminder", "a")]

    async def test_who_was_answered_meanwhile_gets_no_reminder_kept(self, journal):
        channel = Channel(seconds=10)
        ask(journal)
        answer = ExecutionResult("a", output="yes")
        await stay(
            journal,
            60,
            channel,
            meanwhile={5: lambda: journal.record(ev.TaskCompleted(at=now(), task_id="a", result=answer, by="person"))},
        )
        assert channel.told == [(10, "asked", "a")]
        assert facts(journal, ev.PersonNotified) == []

    async def test_a_task_that_is_gone_meanwhile_is_no_trouble(self, journal):
        channel = Channel(seconds=10)
        ask(journal)
        await stay(journal, 60, channel, meanwhile={5: lambda: journal.record(ev.TaskRemoved(at=now(), task_id="a"))})
        assert facts(journal, ev.PersonNotified) == []

    @pytest.mark.parametrize("default", ["go on", None])
    async def test_it_is_told_once_that_the_time_is_over_and_what_became_of_it(self, journal, default):
        channel = Channel()
        ask(journal, wait=Wait(deadline_s=60, default=default))
        await stay(journal, HOUR, channel)
        assert channel.told == [(0, "asked", "a"), (60, "expired", "a")]

    async def test_what_a_worker_calls_the_same_as_we_do_is_not_taken_for_ours(self, journal):
        ask(journal)
        result = ExecutionResult("a", output="x", metadata={"waited_since": ["not", "a", "moment"]})
        journal.record(ev.TaskCompleted(at=now(), task_id="a", result=result))
        channel = Channel()
        await stay(journal, 60, channel)
        assert channel.told == []

    async def test_whoever_was_asked_in_the_last_moment_of_a_run_is_told_before_it_ends(self, journal):
        channel = Channel(seconds=5)
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(WaitingRoom(journal, channel).run(stopping))
            await asyncio.sleep(1)
            ask(journal)
            stopping.set()
        assert channel.told == [(6, "asked", "a")]

    async def test_what_takes_too_long_at_the_end_is_told_by_the_next_run(self, journal, caplog):
        channel = Channel(seconds=20)
        for name in "abcd":
            ask(journal, name)
        began = asyncio.get_running_loop().time()
        await stay(journal, 0.0, channel)
        assert asyncio.get_running_loop().time() - began <= 20 + LAST_WORDS_S
        assert len(channel.told) < 4
        assert "the next run does it" in caplog.text
        await stay(journal, 200, channel)
        assert sorted(name for _, _, name in channel.told) == list("abcd")

    async def test_the_most_urgent_is_told_first(self, journal):
        ask(journal, "nagged", wait=Wait(remind_every_s=1))
        journal.record(ev.PersonNotified(at=now(), task_id="nagged", occasion="asked"))
        ask(journal, "late", wait=Wait(deadline_s=1))
        ask(journal, "new")
        await asyncio.sleep(5)
        await WaitingRoom(journal).make_up()
        due = calls_due(journal.state.unordered(), now())
        assert [(call.occasion, call.known.task.task_id) for call in due] == [
            ("expired", "late"),
            ("asked", "new"),
            ("reminder", "nagged"),
        ]

    async def test_the_facts_read_back_make_the_same_state(self, journal):
        ask(journal, "a", wait=Wait(deadline_s=60, remind_every_s=10, default="x"))
        await stay(journal, 100, Channel())
        again = fold(journal._store._events)
        assert again.tasks["a"].status is TaskStatus.COMPLETED


@given(
    asked_s=st.floats(-1e6, 1e6),
    told_s=st.none() | st.floats(-1e6, 1e6),
    every_s=st.none() | st.floats(1e-3, 1e6),
    at_s=st.floats(-1e6, 1e6),
)
def test_whoever_was_told_at_a_moment_has_nothing_more_to_be_told_then(asked_s, told_s, every_s, at_s):
    def moment(seconds):
        return START + timedelta(seconds=seconds)

    wait = None if every_s is None else Wait(remind_every_s=every_s)
    history = [
        ev.TaskAdded(at=START, task=AgentTask("a", "a", wait=wait)),
        ev.TaskStarted(at=START, task_id="a", attempt=1),
        ev.TaskWaiting(at=moment(asked_s), task_id="a", need="answer", result=ExecutionResult("a")),
    ]
    if told_s is not None:
        history.append(ev.PersonNotified(at=moment(told_s), task_id="a", occasion="asked"))
    state = fold(history)
    due = calls_due(state.unordered(), moment(at_s))
    assert bool(due) is (next_moment(state.unordered()) is not None and (told_s is None or _is_past(state, at_s)))
    for call in due:
        state = fold([ev.PersonNotified(at=moment(at_s), task_id="a", occasion=call.occasion)], state)
    assert calls_due(state.unordered(), moment(at_s)) == []


def _is_past(state, at_s):
    return next_moment(state.unordered()) <= START + timedelta(seconds=at_s)

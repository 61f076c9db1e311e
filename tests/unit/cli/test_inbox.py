"""Requests of other processes: taken at most once, answered, withdrawn or dropped. Real files, a real project."""

import asyncio
import logging
import os
import threading
import time
from functools import partial

import pytest

from orchestration import AgentTask, ProjectOrchestrator, TaskStatus
from orchestration.inbox import Inbox, Reply, Request, RequestError, apply, ask, inbox_path, serve
from orchestration.task import Check, ExecutionResult

APPROVE = Request(command="approve", task_id="a")


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "inbox")


class Asking:
    """Waits for every answer with a person's word: `need` decides which."""

    def __init__(self, mode="interactive"):
        self.mode = mode

    async def execute(self, task, *, agent=None):
        return ExecutionResult(task.task_id, output=f"draft of {task.task_id}", metadata={"execution_mode": self.mode})


class Working:
    """Works without end."""

    def __init__(self):
        self.started = asyncio.Event()

    async def execute(self, task, *, agent=None):
        self.started.set()
        await asyncio.Event().wait()


@pytest.fixture
async def project():
    made = []

    async def open_project(mode="interactive", **fields):
        orchestrator = ProjectOrchestrator(executor=Asking(mode))
        made.append(orchestrator)
        orchestrator.add_task(AgentTask("a", "a", **fields))
        orchestrator.add_task(AgentTask("b", "b", dependencies=("a",)))
        await orchestrator.execute_task("a")
        return orchestrator

    yield open_project
    for orchestrator in made:
        await orchestrator.aclose()


class TestTheFolder:
    def test_a_request_is_taken_once_and_answered(self, inbox):
        name = inbox.put(APPROVE)
        assert inbox.take() == [(name, APPROVE)]
        assert inbox.take() == []
        assert inbox.collect(name) is None
        inbox.reply(name, Reply(message="done"))
        assert inbox.collect(name) == Reply(message="done")
        assert inbox.collect(name) is None
        assert list(inbox.folder.iterdir()) == []

    def test_requests_are_taken_in_the_order_they_were_left(self, inbox):
        names = [inbox.put(Request(command="reset", task_id=f"t{n}")) for n in range(20)]
        assert [name for name, _ in inbox.take()] == names

    def test_what_is_withdrawn_is_not_taken_and_what_is_taken_not_withdrawn(self, inbox):
        withdrawn, taken = inbox.put(APPROVE), inbox.put(APPROVE)
        assert inbox.withdraw(withdrawn)
        assert [name for name, _ in inbox.take()] == [taken]
        assert not inbox.withdraw(taken)

    def test_an_inbox_nobody_has_used_is_empty(self, inbox):
        assert inbox.take() == []
        assert inbox.discard_stale(time.time()) == []
        assert not inbox.folder.exists()

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"command": "explode"}', b"\xff", b'{"command": 1}'])
    def test_what_cannot_be_read_is_answered_and_dropped(self, inbox, content, caplog):
        inbox.folder.mkdir()
        (inbox.folder / "1.request.json").write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert inbox.take() == []
        assert "cannot be read" in inbox.collect("1").error
        assert "cannot be read" in caplog.text

    def test_what_was_left_long_ago_is_dropped_and_told(self, inbox):
        old, fresh = inbox.put(APPROVE), inbox.put(APPROVE)
        for name in (f"{old}.request.json",):
            os.utime(inbox.folder / name, (0, 0))
        for name in ("1.taken.json", "2.reply.json", "3.request.json"):
            (inbox.folder / name).write_bytes(b"?")
            os.utime(inbox.folder / name, (0, 0))
        assert inbox.discard_stale(time.time()) == [APPROVE]
        assert [path.name for path in inbox.folder.iterdir()] == [f"{fresh}.request.json"]

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RequestError, match=r"cannot leave the request in .*file/inbox"):
            Inbox(tmp_path / "file" / "inbox").put(APPROVE)

    def test_each_project_has_its_own(self, tmp_path):
        assert inbox_path(tmp_path, "my.project") == tmp_path / ".orchestration" / "my.project.inbox"


class TestAsking:
    def test_nobody_there_is_told_at_once_and_leaves_nothing(self, inbox):
        assert ask(inbox, APPROVE, is_live=lambda: False) is None
        assert list(inbox.folder.iterdir()) == []

    def test_no_answer_in_time_changes_nothing(self, inbox):
        with pytest.raises(RequestError, match="withdrawn: nothing has changed"):
            ask(inbox, APPROVE, is_live=lambda: True, within_s=0)
        assert list(inbox.folder.iterdir()) == []

    def test_a_request_that_was_taken_by_a_process_that_died_is_not_repeated(self, inbox):
        def die_with_it():
            inbox.take()
            return False

        with pytest.raises(RequestError, match="took the request 'approve a', but did not say"):
            ask(inbox, APPROVE, is_live=die_with_it)

    def test_the_last_reply_of_a_process_that_ends_is_heard(self, inbox):
        def reply_and_end():
            for name, _ in inbox.take():
                inbox.reply(name, Reply(message="done"))
            return False

        assert ask(inbox, APPROVE, is_live=reply_and_end) == Reply(message="done")

    def test_whoever_is_interrupted_while_waiting_takes_the_request_back(self, inbox):
        def interrupted():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ask(inbox, APPROVE, is_live=interrupted)
        assert inbox.take() == []

    async def test_a_live_project_answers(self, inbox, project):
        orchestrator = await project("hybrid")
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(inbox, partial(apply, orchestrator), stopping, poll_s=0.001))
            reply = await asyncio.to_thread(ask, inbox, APPROVE, is_live=lambda: True)
            stopping.set()
        assert reply == Reply(message="the draft of 'a' is approved", task_ids=("a",))
        assert orchestrator.get_task("a").status is TaskStatus.COMPLETED

    async def test_many_ask_at_once_and_each_is_answered_for_itself(self, inbox, project):
        orchestrator = await project("hybrid")
        stopping = asyncio.Event()
        requests = [APPROVE, *(Request(command="reset", task_id=f"no-{n}") for n in range(3))]
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(inbox, partial(apply, orchestrator), stopping, poll_s=0.001))
            asked = (asyncio.to_thread(ask, inbox, request, is_live=lambda: True) for request in requests)
            replies = await asyncio.gather(*asked)
            stopping.set()
        assert replies[0].message
        for n, reply in enumerate(replies[1:]):
            assert f"unknown task 'no-{n}'" in reply.error


class TestApplying:
    async def test_an_answer(self, project):
        orchestrator = await project()
        reply = await apply(orchestrator, Request(command="answer", task_id="a", text="yes"))
        assert reply.task_ids == ("a",)
        assert orchestrator.state.tasks["a"].result.output == "yes"

    async def test_an_answer_in_the_form_asked_for(self, project):
        orchestrator = await project(output_schema={"type": "integer"})
        refused = await apply(orchestrator, Request(command="answer", task_id="a", text="many"))
        assert "the answer" in refused.error
        await apply(orchestrator, Request(command="answer", task_id="a", text="```json\n42\n```"))
        assert orchestrator.state.tasks["a"].result.metadata["data"] == 42

    async def test_a_rejection(self, project):
        orchestrator = await project("hybrid")
        reply = await apply(orchestrator, Request(command="reject", task_id="a", text="longer"))
        assert "rejected" in reply.message
        assert orchestrator.state.tasks["a"].comment == "longer"

    async def test_a_reset_tells_all_that_runs_again(self, project):
        orchestrator = await project()
        orchestrator.complete_task("a")
        orchestrator.complete_task("b")
        reply = await apply(orchestrator, Request(command="reset", task_id="a"))
        assert reply == Reply(message="runs again: a, b", task_ids=("a", "b"))

    async def test_a_cancellation_of_one_and_of_all(self, project):
        orchestrator = await project()
        assert (await apply(orchestrator, Request(command="cancel", task_id="b"))).task_ids == ("b",)
        assert orchestrator.get_task("b").status is TaskStatus.CANCELLED
        assert "being cancelled" in (await apply(orchestrator, Request(command="cancel"))).message

    async def test_what_must_not_happen_twice_is_promised_neither_another_try_nor_to_be_done(self):
        async with ProjectOrchestrator(executor=Working()) as orchestrator, asyncio.TaskGroup() as group:
            orchestrator.add_task(AgentTask("pay", "pay", effects="once", checks=(Check(matches="receipt"),)))
            paying = group.create_task(orchestrator.execute_task("pay"))
            await orchestrator.executor.started.wait()
            reply = await apply(orchestrator, Request(command="cancel", task_id="pay"))
            assert reply.message == "'pay' is cancelled; you will be asked whether it happened"
            await paying
            assert orchestrator.get_task("pay").status is TaskStatus.NEEDS_REVIEW
            reply = await apply(orchestrator, Request(command="approve", task_id="pay"))
            assert reply.message == "'pay' is not done again, as you say: it happened; the next run makes its checks"
            assert orchestrator.get_task("pay").status is TaskStatus.PENDING

    async def test_what_may_have_happened_cannot_be_cancelled_and_the_ways_out_are_named(self):
        async with ProjectOrchestrator(executor=Working()) as orchestrator, asyncio.TaskGroup() as group:
            orchestrator.add_task(AgentTask("pay", "pay", effects="once"))
            paying = group.create_task(orchestrator.execute_task("pay"))
            await orchestrator.executor.started.wait()
            await apply(orchestrator, Request(command="cancel", task_id="pay"))
            await paying
            reply = await apply(orchestrator, Request(command="cancel", task_id="pay"))
            assert "waits for your word on whether it happened. If it has: `orchestrate approve pay`" in reply.error
            assert orchestrator.get_task("pay").status is TaskStatus.NEEDS_REVIEW

    async def test_a_reset_names_what_comes_after_it_and_waits_for_a_persons_word(self):
        async with ProjectOrchestrator() as orchestrator:
            orchestrator.add_task(AgentTask("bill", "bill"))
            orchestrator.add_task(AgentTask("pay", "pay", effects="once", dependencies=("bill",)))
            orchestrator.complete_task("bill")
            orchestrator.start_task("pay")
            orchestrator.fail_task("pay", "exit code 1")
            reply = await apply(orchestrator, Request(command="reset", task_id="bill"))
            assert reply.message == "runs again: bill; 'pay' not: say first whether it happened"
            assert reply.task_ids == ("bill",)

    async def test_work_that_is_kept_is_not_promised_to_be_tried_again(self):
        async with ProjectOrchestrator(executor=Working()) as orchestrator, asyncio.TaskGroup() as group:
            orchestrator.add_task(AgentTask("pay", "pay", effects="once", checks=(Check(matches="receipt"),)))
            paying = group.create_task(orchestrator.execute_task("pay"))
            await orchestrator.executor.started.wait()
            await apply(orchestrator, Request(command="cancel", task_id="pay"))
            await paying
            await apply(orchestrator, Request(command="approve", task_id="pay"))
            reply = await apply(orchestrator, Request(command="cancel", task_id="pay"))
            assert reply.message.endswith("what was done for it is kept, and the next run goes on with that")

    async def test_what_has_ended_cannot_be_cancelled(self, project):
        orchestrator = await project()
        orchestrator.complete_task("a")
        reply = await apply(orchestrator, Request(command="cancel", task_id="a"))
        assert reply.error == "task 'a' is completed: there is nothing to cancel"

    async def test_what_was_cancelled_before_it_began_is_tried_again(self, project):
        orchestrator = await project()
        orchestrator.add_task(AgentTask("pay", "pay", effects="once"))
        reply = await apply(orchestrator, Request(command="cancel", task_id="pay"))
        assert reply.message == "'pay' is cancelled; the next run tries it again"

    @pytest.mark.parametrize(
        ("request_", "says"),
        [
            (Request(command="approve", task_id="a"), "not for an approval; give it with `orchestrate answer a`"),
            (Request(command="answer", task_id="b", text="x"), "'b' is pending"),
            (Request(command="answer", task_id="no", text="x"), "unknown task 'no'"),
            (Request(command="reset"), "'reset' needs a task"),
        ],
    )
    async def test_what_cannot_be_is_refused_with_the_reason(self, project, request_, says):
        reply = await apply(await project(), request_)
        assert says in reply.error
        assert reply.message == ""


async def test_serving_goes_on_while_another_thread_leaves_requests(inbox, project):
    orchestrator = await project()
    stopping = asyncio.Event()
    replies = []

    def leave():
        replies.extend(ask(inbox, Request(command="reset", task_id="b"), is_live=lambda: True) for _ in range(5))

    async with asyncio.TaskGroup() as group:
        group.create_task(serve(inbox, partial(apply, orchestrator), stopping, poll_s=0.001))
        thread = threading.Thread(target=leave)
        thread.start()
        await asyncio.to_thread(thread.join)
        stopping.set()
    assert [reply.task_ids for reply in replies] == [("b",)] * 5

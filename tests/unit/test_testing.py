"""The simulator itself: its time, its servers, its disk; and that its checks find what is wrong."""

import asyncio
import random
import re
import subprocess
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from llm_abstractions import LaneLimits
from llm_abstractions.errors import ConnectionFailedError, LlmError, RateLimitError, RefusalError
from llm_abstractions.factory import LlmFactory
from orchestration import (
    AgentConfig,
    AgentRegistry,
    AgentTask,
    AgentType,
    Budget,
    Budgets,
    ProjectOrchestrator,
    StoreError,
    TaskExecutor,
    events,
)
from orchestration.testing import (
    EndlessError,
    Request,
    Scenario,
    SimulatedServer,
    StandstillError,
    Trouble,
    VirtualLoop,
    play,
    random_scenario,
    run,
    serving,
    simulate,
)
from orchestration.testing.__main__ import main
from orchestration.testing.store import Disk, SimulatedStore
from orchestration.testing.virtual_loop import KilledError

ASK = Request(model="gpt-4o", prompt="What is the answer?", max_tokens=50)


def story_of(seed):
    return [str(line) for line in simulate(seed).transcript]


def project(**options):
    """Return a scenario of five calls, one of which needs two others."""
    return Scenario(
        **{
            "tasks": [
                AgentTask(f"t{number}", f"Task {number}", agent="gpt", dependencies=["t0", "t1"] if number == 4 else [])
                for number in range(5)
            ],
            "agents": [AgentConfig("gpt", AgentType.OPENAI_GPT, model="gpt-4o", max_tokens=100, max_concurrent=2)],
            "servers": [SimulatedServer()],
        }
        | options
    )


class TestVirtualTime:
    def test_hours_pass_at_once_and_in_order(self):
        async def sleepers():
            woken = []

            async def sleep(seconds):
                await asyncio.sleep(seconds)
                woken.append((seconds, asyncio.get_running_loop().time()))

            async with asyncio.TaskGroup() as group:
                for seconds in (7_200, 60, 3_600):
                    group.create_task(sleep(seconds))
            return woken

        assert run(sleepers()) == [(60, 60), (3_600, 3_600), (7_200, 7_200)]

    def test_a_seed_decides_the_order_of_what_is_ready_together_and_the_same_each_time(self):
        async def order():
            ran = []

            async def one(number):
                await asyncio.sleep(0)
                ran.append(number)

            await asyncio.gather(*map(one, range(10)))
            return ran

        assert run(order()) == list(range(10))
        assert run(order(), seed=1) == run(order(), seed=1)
        assert len({tuple(run(order(), seed=seed)) for seed in range(20)}) > 15

    def test_a_call_in_a_thread_is_made_at_once_and_raises_where_it_is_awaited(self):
        async def calls():
            with pytest.raises(ZeroDivisionError):
                await asyncio.to_thread(lambda: 1 / 0)
            return await asyncio.to_thread(max, 1, 2), asyncio.get_running_loop().time()

        assert run(calls()) == (2, 0)

    def test_what_never_comes_is_an_error_that_says_who_waits_where(self):
        async def forever():
            await asyncio.Event().wait()

        with pytest.raises(StandstillError, match=r"forever:\d+ > Event.wait:\d+"):
            run(forever())

    def test_sockets_work_beside(self):
        async def talk():
            async def answer(reader, writer):
                writer.write(await reader.readline())
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1")
            async with server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"hello\n")
                line = await reader.readline()
                writer.close()
                await writer.wait_closed()
            return line

        assert run(talk()) == b"hello\n"

    def test_a_killed_loop_ends_in_the_middle_and_can_be_closed(self):
        ran = []

        async def count():
            while True:
                ran.append(len(ran))
                await asyncio.sleep(1)

        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            loop.kill_after(9)
            with pytest.raises(KilledError):
                runner.run(count())
            loop.bury()
        assert 3 <= len(ran) <= 9

    def test_what_has_no_end_is_stopped(self):
        async def spin():
            for _ in range(10_000):
                await asyncio.sleep(0)

        loop = VirtualLoop(max_steps=1_000)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            with pytest.raises(EndlessError, match="1,000 steps"):
                runner.run(spin())
            loop.bury()


class TestServers:
    def test_a_limit_is_kept_by_refusals_that_say_when_to_come_again(self):
        server = SimulatedServer(requests_per_minute=2, states_limits=True, latency_s=(0, 0))

        async def ask():
            answers = [await server.handle(ASK), await server.handle(ASK)]
            with pytest.raises(RateLimitError) as refused:
                await server.handle(ASK)
            await asyncio.sleep(refused.value.retry_after_s)
            return answers, refused.value, await server.handle(ASK)

        answers, refused, late = run(ask())
        assert answers[0].rate_limits.requests.limit == 2
        assert answers[0].rate_limits.requests.remaining in {1, 2}
        assert 0 < refused.retry_after_s <= 30
        assert late == "answer to 19 characters"
        assert (server.count("ok"), server.count("rate_limit")) == (3, 1)

    def test_tokens_are_limited_too(self):
        server = SimulatedServer(tokens_per_minute=40, output_tokens=(30, 30), says_retry_after=False)

        async def ask():
            await server.handle(ASK)
            with pytest.raises(RateLimitError) as refused:
                await server.handle(ASK)
            return refused.value

        assert run(ask()).retry_after_s is None

    @pytest.mark.parametrize("kind", ["quota", "overloaded", "auth", "bad_request", "context_length", "rate_limit"])
    def test_what_is_said_at_once_costs_nothing(self, kind):
        server = SimulatedServer(troubles=[Trouble(kind=kind, until_s=50, says_when=True)])

        async def ask():
            with pytest.raises(LlmError) as failed:
                await server.handle(ASK)
            return failed.value

        failed = run(ask())
        assert (failed.kind, failed.retry_after_s) == (kind, pytest.approx(49.9))
        assert server.billed_usd == 0

    def test_a_refusal_is_paid_for_and_brings_its_usage(self):
        server = SimulatedServer(troubles=[Trouble(kind="refusal")])

        async def ask():
            with pytest.raises(RefusalError) as refused:
                await server.handle(ASK)
            return refused.value

        assert run(ask()).answer.usage.output_tokens > 0
        assert server.billed_usd > 0

    def test_a_cut_answer_is_charged_by_some(self):
        server = SimulatedServer(troubles=[Trouble(kind="connection")])

        async def ask():
            for _ in range(20):
                with pytest.raises(ConnectionFailedError):
                    await server.handle(ASK)

        run(ask())
        assert 0 < sum(call.cost_usd > 0 for call in server.calls) < 20

    def test_who_hangs_up_is_charged(self):
        server = SimulatedServer(latency_s=(10, 10))

        async def ask():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await server.handle(ASK)

        run(ask())
        [call] = server.calls
        assert (call.outcome, call.ended_at_s, call.cost_usd > 0) == ("gone", 1, True)
        assert server.under_way == 0

    def test_a_slow_answer_runs_into_the_time_limit(self):
        server = SimulatedServer(latency_s=(10, 10))

        async def ask():
            with pytest.raises(LlmError, match="timeout"):
                await server.handle(Request(model="m", prompt="p", timeout_s=5))
            return asyncio.get_running_loop().time()

        assert run(ask()) == 5

    def test_agents_find_the_server_of_their_address_and_what_was_registered_before_comes_back(self):
        def own(**_options):
            raise AssertionError("not to be called")

        LlmFactory.register("openai", own, replace=True)
        try:
            near, other = SimulatedServer(base_url="http://near"), SimulatedServer()
            with serving(near, other):
                assert LlmFactory.get_provider("openai", base_url="http://near").server is near
                assert LlmFactory.get_provider("openai", model="m").server is other
            with serving(near), pytest.raises(ValueError, match="no simulated server for base_url None"):
                LlmFactory.get_provider("openai")
            assert LlmFactory._registered["openai"] is own
        finally:
            LlmFactory.unregister("openai")

    async def test_they_serve_programs_of_ones_own(self):
        server = SimulatedServer(latency_s=(0, 0), tokens_per_s=1e9, answer=lambda request: request.prompt.upper())
        registry = AgentRegistry()
        registry.register_agent(AgentConfig("gpt", AgentType.OPENAI_GPT, model="gpt-4o"))
        with serving(server):
            async with TaskExecutor(registry) as executor, ProjectOrchestrator(executor=executor) as project:
                project.add_task(AgentTask("shout", "hello", agent="gpt"))
                result = await project.execute_workflow()

        assert result.results["shout"].output == "HELLO"
        assert server.calls[0].task_id == "shout"


class TestTheDisk:
    FACT = events.RunStarted(at=datetime(2026, 1, 1, tzinfo=UTC), run_id="r")

    def test_a_dead_process_leaves_what_was_durable_and_perhaps_some_more(self):
        async def live_and_die(seed):
            disk = Disk()
            store = SimulatedStore(disk, commit_s=1)
            store.load()
            for _ in range(3):
                await store.flushed(store.append(self.FACT))
            for _ in range(4):
                last = store.append(self.FACT)
            assert (store.durable, last) == (3, 7)
            store.die(random.Random(seed))
            with pytest.raises(StoreError, match="died"):
                store.append(self.FACT)
            return len(disk.facts)

        assert {run(live_and_die(seed)) for seed in range(50)} == {3, 4, 5, 6, 7}

    def test_a_commit_takes_what_was_queued_when_it_began(self):
        async def write():
            store = SimulatedStore(Disk(), commit_s=1)
            store.load()
            first = store.append(self.FACT)
            await asyncio.sleep(0.5)
            second = store.append(self.FACT)
            await store.flushed(first)
            assert store.durable == 1
            await store.flushed(second)
            return asyncio.get_running_loop().time()

        assert run(write()) == 2

    def test_closing_writes_what_is_queued_and_a_closed_store_takes_nothing(self):
        async def write():
            disk = Disk()
            store = SimulatedStore(disk, commit_s=1)
            store.load()
            store.append(self.FACT)
            await store.aclose()
            await store.aclose()
            with pytest.raises(StoreError, match="not open"):
                store.append(self.FACT)
            return len(disk.facts)

        assert run(write()) == 1

    def test_a_full_disk_writes_nothing_any_more(self):
        async def write():
            disk = Disk()
            store = SimulatedStore(disk, fails_at=2)
            store.load()
            await store.flushed(store.append(self.FACT))
            with pytest.raises(StoreError, match="full"):
                await store.flushed(store.append(self.FACT))
            with pytest.raises(StoreError, match="full"):
                await store.aclose()
            return len(disk.facts)

        assert run(write()) == 1


class TestStories:
    def test_a_seed_tells_the_same_story_each_time_in_any_process(self):
        seeds = range(40, 52)
        told = [line for seed in seeds for line in story_of(seed)]
        program = (
            "from orchestration.testing import simulate\n"
            f"for seed in range({seeds.start}, {seeds.stop}):\n"
            "    print(*simulate(seed).transcript, sep='\\n')"
        )
        for hash_seed in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONHASHSEED": hash_seed},
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.splitlines() == told

    def test_seeds_tell_different_stories(self):
        assert len({tuple(story_of(seed)) for seed in range(30)}) == 30

    def test_between_them_they_tell_of_everything(self):
        told = "\n".join(line for seed in range(120) for line in story_of(seed))
        for word in (
            "process is killed",
            "process gives up",
            "task parked",
            "task retrying",
            "task waiting",
            "task rejected",
            "call reserved",
            "call lost",
            "call released",
            "kind=budget",
            "kind=quota",
            "status=over_budget",
            "status=interrupted",
            "status=cancelled",
        ):
            assert word in told, word

    def test_the_command_tells_them_again(self, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["testing", "7", "8:10", "--verbose"])

        assert main() == 0

        told = capsys.readouterr().out
        assert "\n".join(story_of(7)) in told
        assert [line.split(":")[0] for line in told.splitlines() if line.startswith("seed")] == [
            "seed 7",
            "seed 8",
            "seed 9",
        ]
        assert told.endswith("3 stories, 0 with violations\n")

    def test_the_report_says_how_it_ended(self):
        report = play(project())

        assert report.is_ok
        assert report.check() is report
        assert report.runs == ("completed",)
        assert "5 tasks, 5 calls" in report.describe()


class TestTheChecksFind:
    """Break one thing in the system, and see it found."""

    def found(self, scenario, expected, seed=0):
        report = play(scenario, seed=seed)
        assert not report.is_ok
        assert any(expected in violation for violation in report.violations), report.violations
        with pytest.raises(AssertionError, match="VIOLATED"):
            report.check()

    def test_tasks_that_start_before_what_they_need_is_done(self, monkeypatch):
        monkeypatch.setattr("orchestration.schedule._is_satisfied", lambda *_: True)
        monkeypatch.setattr("orchestration.task_run.unmet_dependencies", lambda *_: [])
        monkeypatch.setattr("orchestration.workflow.unmet_dependencies", lambda *_: [])
        self.found(project(agents=[AgentConfig("gpt", AgentType.OPENAI_GPT, model="gpt-4o")]), "t4 started while t0")

    def test_agents_that_do_more_at_once_than_they_may(self, monkeypatch):
        monkeypatch.setattr("orchestration.workflow.Workflow._has_slot", lambda *_: True)
        self.found(project(), "tasks of gpt run, whose limit is 2")

    def test_runs_that_do_more_at_once_than_they_may(self, monkeypatch):
        monkeypatch.setattr("orchestration.workflow.Workflow._has_slot", lambda *_: True)
        original = ProjectOrchestrator.execute_workflow
        monkeypatch.setattr(ProjectOrchestrator, "execute_workflow", lambda self, **_: original(self))
        self.found(project(max_concurrent=2), "run, with max_concurrent=2")

    def test_calls_made_before_their_start_is_durable(self, monkeypatch):
        async def at_once(*_):
            pass

        monkeypatch.setattr("orchestration.journal.Journal.durable", at_once)
        self.found(project(commit_s=1.0), "before its start is durable")

    def test_budgets_that_are_overrun(self, monkeypatch):
        monkeypatch.setattr("orchestration.purse.refusal", lambda *_: None)
        budgets = Budgets(project=Budget(usd=Decimal("0.002")), agents={"gpt": Budget(tokens=500)}, on_limit="stop")
        self.found(project(budgets=budgets), "exceed $0.002")
        self.found(project(budgets=budgets), "more than 500 tokens")

    def test_spending_that_is_not_in_the_books(self, monkeypatch):
        monkeypatch.setattr("orchestration.purse.JournalPurse.applies_to", lambda *_: False)
        monkeypatch.setattr(
            "orchestration.runners.llm.CallFinished",
            lambda **fields: events.CallFinished(**fields | {"cost_usd": "0"}),
        )
        self.found(project(budgets=Budgets(project=Budget(usd=Decimal(1)))), "is in the books")

    def test_reservations_that_are_kept(self, monkeypatch):
        monkeypatch.setattr("orchestration.booking.call_released", lambda state, _event: state)
        monkeypatch.setitem(sys.modules["orchestration.fold"]._APPLY, events.CallReleased, lambda state, _event: state)
        self.found(
            project(
                servers=[SimulatedServer(troubles=[Trouble(kind="overloaded", until_s=0.5)])],
                budgets=Budgets(project=Budget(usd=Decimal(1))),
            ),
            "reservations are left over",
        )

    def test_ceilings_that_are_overrun(self, monkeypatch):
        monkeypatch.setattr("llm_abstractions.adaptive.Window.set_ceiling", lambda *_: None)
        self.found(
            project(
                tasks=[AgentTask(f"t{number}", "Task", agent="gpt") for number in range(9)],
                agents=[AgentConfig("gpt", AgentType.OPENAI_GPT, model="gpt-4o")],
                limits={"openai": LaneLimits(concurrency=1)},
            ),
            "whose lanes allow [1]",
        )

    def test_limits_that_are_overrun_though_they_were_known(self, monkeypatch):
        monkeypatch.setattr("llm_abstractions.bucket.Bucket.wait_s", lambda *_: 0.0)
        self.found(
            project(
                tasks=[AgentTask(f"t{number}", "Task", agent="gpt") for number in range(9)],
                servers=[SimulatedServer(requests_per_minute=3)],
                limits={"openai": LaneLimits(requests_per_minute=3)},
            ),
            "though its limit of 3 a minute was known",
        )

    def test_wake_ups_that_are_lost(self, monkeypatch):
        monkeypatch.setattr("llm_abstractions.lane.Lane._admit_waiting", lambda *_: None)
        self.found(
            project(
                tasks=[AgentTask(f"t{number}", "Task", agent="gpt") for number in range(9)],
                agents=[AgentConfig("gpt", AgentType.OPENAI_GPT, model="gpt-4o")],
            ),
            "StandstillError",
        )

    def test_tasks_that_could_start_and_do_not(self, monkeypatch):
        monkeypatch.setattr("orchestration.workflow.Workflow._on_fact", lambda *_: None)
        monkeypatch.setattr("orchestration.workflow.Workflow._free", lambda self, *_: self._idle.set())
        self.found(project(), "could start, and time passes")

    def test_attempts_beyond_the_limit(self, monkeypatch):
        monkeypatch.setattr("orchestration.execution.decide", lambda *_, **__: 1.0)
        server = SimulatedServer(troubles=[Trouble(kind="bad_output", until_s=60)])
        self.found(project(servers=[server]), "is tried more than 3 times")

    def test_work_that_is_done_again_after_a_crash(self, monkeypatch):
        def forgetful(found, *_):
            return original([fact for fact in found if not isinstance(fact, events.TaskCompleted)])

        original = sys.modules["orchestration.journal"].fold
        monkeypatch.setattr("orchestration.journal.fold", forgetful)
        scenarios = (project(deaths=[steps]) for steps in range(20, 120, 4))
        reports = [play(scenario) for scenario in scenarios]
        assert any("runs again, though it was completed" in what for report in reports for what in report.violations)

    def test_facts_that_do_not_follow_from_each_other(self, monkeypatch):
        monkeypatch.setattr("orchestration.testing.simulation.decode", lambda _raw: TestTheDisk.FACT)
        self.found(project(), "what is on the disk is not what the project says")

    def test_programs_that_end_by_an_exception(self, monkeypatch):
        def broken(*_):
            raise StoreError("out of order")

        monkeypatch.setattr("orchestration.testing.store.SimulatedStore.append", broken)
        self.found(project(), "the program ended by StoreError: out of order")
        monkeypatch.setattr("orchestration.testing.store.SimulatedStore.load", lambda _: 1 / 0)
        self.found(project(), "the program ended by ZeroDivisionError")

    def test_a_seed_with_a_violation_prints_the_command_that_plays_it_again(self, monkeypatch, capsys):
        monkeypatch.setattr("orchestration.workflow.Workflow._has_slot", lambda *_: True)
        monkeypatch.setattr(sys, "argv", ["testing", "0:40"])

        assert main() == 1

        printed = capsys.readouterr().out
        assert re.search(
            r"VIOLATED: .* whose limit is .*\n  replay: python -m orchestration.testing \d+ --verbose", printed
        )
        assert re.search(r"40 stories, [1-9]\d* with violations", printed)

    def test_exceptions_of_our_own(self, monkeypatch):
        async def broken(*_args, **_options):
            raise AssertionError("a mistake")

        monkeypatch.setattr("orchestration.testing.provider.SimulatedLlm.generate_content_async", broken)
        self.found(project(), "is failed at the end of a run")

    def test_time_limits_that_count_what_is_not_the_tasks_own(self, monkeypatch):
        monkeypatch.setattr("orchestration.attempt.Deadline.held", lambda _: nullcontext())
        self.found(
            project(
                tasks=[AgentTask(f"t{number}", "Task", agent="gpt", timeout_s=20.0) for number in range(6)],
                limits={"openai": LaneLimits(requests_per_minute=2)},
            ),
            "did not finish within",
        )


def test_a_random_scenario_is_its_seeds_own():
    assert [task.task_id for task in random_scenario(5).tasks] == [task.task_id for task in random_scenario(5).tasks]
    assert {len(random_scenario(seed).servers) for seed in range(50)} == {1, 2, 3}

"""One task through the executor: contract section 3, sentence by sentence."""

import asyncio
import logging
import sys
import textwrap
from decimal import Decimal
from unittest.mock import AsyncMock, MagicMock, patch

import pytest

from llm_abstractions.errors import BadOutputError, CallTimeoutError, OverloadedError, RateLimitError
from llm_abstractions.types import Completion, Usage
from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.attempt import AttemptContext, TaskInput, current
from orchestration.errors import InvalidTaskError, StoreError, UnknownAgentError
from orchestration.events import CallFinished, TaskRetrying
from orchestration.executor import TaskExecutor
from orchestration.redact import KEY_VARIABLES
from orchestration.retry import RetryPolicy
from orchestration.task import AgentTask, ExecutionStatus, FailureKind

GET_PROVIDER = "llm_abstractions.factory.LlmFactory.get_provider"
SCHEMA = {"type": "object", "required": ["n"]}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("orchestration.runners.script._warned", True)


@pytest.fixture
def registry():
    known = AgentRegistry()
    for name, kind, options in (
        ("claude", AgentType.ANTHROPIC_CLAUDE, {"system": "Be brief."}),
        ("gpt", AgentType.OPENAI_GPT, {"api_key_env": "MY_KEY"}),
        ("draft", AgentType.OPENAI_GPT, {"mode": "hybrid"}),
        ("off", AgentType.OPENAI_GPT, {"enabled": False}),
        ("person", AgentType.HUMAN, {}),
        ("echo", AgentType.SCRIPT, {"command": (sys.executable, "-c", "import sys; print(sys.stdin.read())")}),
        ("cat", AgentType.CLI, {"command": ("cat",)}),
        ("step", AgentType.PYTHON, {"function": "executor_steps:step"}),
    ):
        known.register_agent(AgentConfig(name, kind, **options))
    return known


@pytest.fixture
async def make(registry, tmp_path):
    """Return a function that makes an executor, which is closed after the test."""
    made = []

    def executor(**options):
        made.append(TaskExecutor(registry, **({"root": tmp_path} | options)))
        return made[-1]

    yield executor
    for each in made:
        await each.aclose()


@pytest.fixture
def executor(make):
    return make()


@pytest.fixture
def provider():
    made = MagicMock()
    made.generate_content_async = AsyncMock(return_value="an answer")
    with patch(GET_PROVIDER, return_value=made) as made.get_provider:
        yield made


@pytest.fixture
def circumstances():
    """Return a function that sets what the orchestrator would; reports are collected in `.reports`."""

    def set_them(**given):
        set_them.reports = []
        current.set(AttemptContext(**({"run_id": "run-1", "report": set_them.reports.append} | given)))
        return set_them.reports

    return set_them


@pytest.fixture
def steps(tmp_path):
    return lambda code: (tmp_path / "executor_steps.py").write_text(textwrap.dedent(code), encoding="utf-8")


def task(agent="claude", **fields):
    return AgentTask("t1", "Write it", agent=agent, **fields)


def prompts(provider):
    return [call.args[0][-1]["content"] for call in provider.generate_content_async.await_args_list]


class TestAgentAndMode:
    async def test_the_agent_is_the_one_given_else_the_task_s_else_the_default(self, make, provider):
        executor = make(default_agent="claude")

        assert (await executor.execute(task("cat"), "gpt")).agent == "gpt"
        assert (await executor.execute(task("cat"))).agent == "cat"
        assert (await executor.execute(task(None))).agent == "claude"

    @pytest.mark.parametrize(
        ("agent", "words"), [("nobody", "'nobody' is unknown"), ("off", "'off' is disabled"), (None, "no agent given")]
    )
    async def test_an_unknown_or_disabled_agent_raises_and_lists_the_known_ones(self, executor, provider, agent, words):
        with pytest.raises(ValueError, match=words) as caught:
            await executor.execute(task(agent))

        assert isinstance(caught.value, UnknownAgentError)
        assert "'claude', 'gpt', 'draft', 'person'" in str(caught.value)
        provider.get_provider.assert_not_called()

    @pytest.mark.parametrize(
        ("given", "of_task", "agent", "default", "mode"),
        [
            ("api", "hybrid", "draft", "interactive", "api"),
            (None, "interactive", "draft", "api", "interactive"),
            (None, None, "draft", "api", "hybrid"),
            (None, None, "gpt", "interactive", "interactive"),
            ("api", None, "person", "api", "interactive"),
        ],
    )
    async def test_the_mode_is_the_one_given_else_the_task_s_else_the_agent_s_else_the_default(
        self, make, provider, given, of_task, agent, default, mode
    ):
        result = await make(execution_mode=default).execute(task(agent, mode=of_task), mode=given)

        assert result.metadata["execution_mode"] == mode

    async def test_an_unknown_mode_raises_and_names_the_three(self, executor, registry, provider):
        with pytest.raises(ValueError, match=r"'magic'.*'interactive', 'api', 'hybrid'"):
            await executor.execute(task(), mode="magic")
        with pytest.raises(ValueError, match="'magic'"):
            TaskExecutor(registry, execution_mode="magic")

        provider.get_provider.assert_not_called()

    async def test_what_would_be_used_can_be_asked_without_doing_anything(self, executor, registry, provider):
        assert executor.check(task()) == (registry.get_agent("claude"), "api")

        provider.get_provider.assert_not_called()


class TestApi:
    async def test_a_plain_text_of_a_caller_s_provider_is_a_success(self, executor, provider):
        result = await executor.execute(task(description="In ten words."))

        assert (result.task_id, result.agent, result.status) == ("t1", "claude", ExecutionStatus.SUCCESS)
        assert (result.output, result.error) == ("an answer", "")
        assert result.metadata == {"execution_mode": "api", "attempts": 1, "provider": "anthropic"}
        assert result.duration_s >= 0
        assert result.started_at.tzinfo is not None
        provider.generate_content_async.assert_awaited_once_with(
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Write it\n\nIn ten words."}]
        )

    async def test_the_task_s_own_system_prompt_replaces_the_agent_s_even_by_nothing(self, executor, provider):
        await executor.execute(task(system="Be long."))
        await executor.execute(task(system=""))

        first, second = (call.args[0] for call in provider.generate_content_async.await_args_list)
        assert first[0] == {"role": "system", "content": "Be long."}
        assert len(second) == 1

    @pytest.mark.looptime
    async def test_three_calls_of_two_seconds_take_two_seconds(self, executor, provider):
        async def slow(*_args, **_options):
            await asyncio.sleep(2)
            return "an answer"

        provider.generate_content_async.side_effect = slow
        results = await asyncio.gather(*(executor.execute(task()) for _ in range(3)))

        assert asyncio.get_running_loop().time() == 2
        assert {result.status for result in results} == {ExecutionStatus.SUCCESS}

    async def test_the_provider_is_looked_up_at_each_attempt(self, make, provider):
        provider.generate_content_async.side_effect = [OverloadedError("busy"), "an answer"]

        result = await make(retry=RetryPolicy(base_delay_s=0)).execute(task())

        assert result.output == "an answer"
        assert provider.get_provider.call_count == provider.generate_content_async.await_count == 2

    async def test_a_type_the_factory_refuses_raises_before_anything_is_called(self, executor):
        with (
            patch(GET_PROVIDER, side_effect=ValueError("no provider for it")),
            pytest.raises(ValueError, match="no prov"),
        ):
            await executor.execute(task())

    @pytest.mark.parametrize("error", [ValueError("odd option"), KeyError("k"), TypeError("t"), ConnectionError("c")])
    async def test_an_unexpected_exception_of_a_provider_is_a_failed_result_with_type_and_message(
        self, executor, provider, error, caplog
    ):
        provider.generate_content_async.side_effect = error

        result = await executor.execute(task())

        assert result.status is ExecutionStatus.FAILED
        assert result.failure_kind is FailureKind.TASK_ERROR
        assert result.error == f"{type(error).__name__}: {error}"
        assert "Traceback" in caplog.text

    async def test_an_input_s_output_is_in_the_prompt(self, executor, provider, circumstances):
        circumstances(inputs={"outline": TaskInput(output="one, two")})

        await executor.execute(task())

        assert '<result task="outline">\none, two\n</result>' in prompts(provider)[0]

    async def test_a_prompt_of_10_mb_fails_before_any_call(self, executor, provider, circumstances):
        circumstances(inputs={"outline": TaskInput(output="x" * 10_000_000)})

        result = await executor.execute(task())

        assert result.failure_kind is FailureKind.CONTEXT_LENGTH
        assert "expected at most 8,000,000" in result.error
        provider.get_provider.assert_not_called()

    async def test_a_template_s_mistake_fails_before_any_call(self, executor, provider):
        result = await executor.execute(task(prompt="{{ tasks.outline.output }}"))

        assert result.failure_kind is FailureKind.BAD_REQUEST
        assert "does not depend on a task 'outline'" in result.error
        provider.get_provider.assert_not_called()


class TestOutputSchema:
    async def test_an_answer_is_read_and_kept_as_data(self, executor, provider):
        provider.generate_content_async.return_value = '```json\n{"n": [1]}\n```'

        result = await executor.execute(task(output_schema=SCHEMA))

        assert (result.output, result.metadata["data"]) == ('{"n": [1]}', {"n": [1]})
        assert provider.generate_content_async.await_args.kwargs == {"json_schema": SCHEMA}

    async def test_a_bad_answer_is_asked_for_again_with_what_was_wrong(self, make, provider, circumstances):
        reports = circumstances()
        provider.generate_content_async.side_effect = ["nonsense", "{}", '{"n": 1}']

        result = await make(retry=RetryPolicy(base_delay_s=0)).execute(task(output_schema=SCHEMA))

        assert result.metadata["data"] == {"n": 1}
        assert result.metadata["attempts"] == 3
        first, second, third = prompts(provider)
        assert "was not accepted. the answer is not JSON" in second
        assert "'n' is a required property" in third
        assert "not JSON" not in third
        assert second.startswith(first)
        assert [fact.kind for fact in reports if isinstance(fact, TaskRetrying)] == [FailureKind.BAD_OUTPUT] * 2

    async def test_an_answer_that_stays_bad_is_a_failure_that_keeps_it(self, executor, provider):
        provider.generate_content_async.return_value = "nonsense"

        result = await executor.execute(task(output_schema=SCHEMA, max_attempts=1))

        assert result.failure_kind is FailureKind.BAD_OUTPUT
        assert result.metadata["answer"] == "nonsense"

    async def test_a_schema_that_is_none_fails_before_any_call(self, executor, provider):
        result = await executor.execute(task(output_schema={"type": "objekt"}))

        assert result.failure_kind is FailureKind.BAD_REQUEST
        provider.get_provider.assert_not_called()

    async def test_a_function_s_data_is_checked(self, executor, steps):
        steps("def step(work): return {'m': 1}")

        bad = await executor.execute(task("step", output_schema=SCHEMA, max_attempts=1))
        good = await executor.execute(task("step", output_schema={"type": "object"}))

        assert "'n' is a required property" in bad.error
        assert good.metadata["data"] == {"m": 1}

    async def test_a_command_line_tool_is_told_of_the_schema(self, executor):
        result = await executor.execute(task("cat", output_schema=SCHEMA, max_attempts=1))

        assert result.failure_kind is FailureKind.BAD_OUTPUT
        assert "It must meet this JSON Schema" in result.metadata["answer"]

    async def test_a_script_is_told_of_the_schema_and_its_answer_is_read(self, executor):
        result = await executor.execute(task("echo", output_schema={"required": ["output_schema"]}))

        assert "It must meet this JSON Schema" in result.metadata["data"]["prompt"]


class TestRetries:
    @pytest.mark.looptime
    async def test_waits_double_and_each_retry_is_reported_before_it_starts(
        self, executor, provider, circumstances, monkeypatch
    ):
        monkeypatch.setattr(executor._random, "random", lambda: 0.0)
        reports = circumstances(attempt=4)
        provider.generate_content_async.side_effect = [CallTimeoutError("slow"), CallTimeoutError("slow"), "an answer"]

        result = await executor.execute(task())

        assert asyncio.get_running_loop().time() == pytest.approx(0.5 + 1.0)
        assert result.metadata["attempts"] == 3
        retries = [fact for fact in reports if isinstance(fact, TaskRetrying)]
        assert [(fact.attempt, fact.delay_s) for fact in retries] == [(5, 0.5), (6, 1.0)]
        assert retries[0].error == "agent 'claude': slow"
        assert [fact.attempt for fact in reports if isinstance(fact, CallFinished)] == [6]

    @pytest.mark.looptime
    async def test_the_moment_a_provider_names_is_waited_for(self, executor, provider, monkeypatch):
        monkeypatch.setattr(executor._random, "random", lambda: 0.0)
        provider.generate_content_async.side_effect = [RateLimitError("slow down", retry_after_s=42), "an answer"]

        await executor.execute(task())

        assert 42 <= asyncio.get_running_loop().time() <= 42 * 1.1  # the lane spreads those who waited for it

    @pytest.mark.looptime
    @pytest.mark.parametrize(
        ("of_task", "of_agent", "attempts"), [(None, None, 3), (None, 2, 2), (4, 2, 4), (1, None, 1)]
    )
    async def test_attempts_are_limited_by_the_task_else_the_agent_else_the_policy(
        self, executor, registry, provider, of_task, of_agent, attempts
    ):
        registry.register_agent(AgentConfig("limited", AgentType.OPENAI_GPT, max_attempts=of_agent))
        provider.generate_content_async.side_effect = CallTimeoutError("slow")

        result = await executor.execute(task("limited", max_attempts=of_task))

        assert provider.generate_content_async.await_count == result.metadata["attempts"] == attempts
        assert result.failure_kind is FailureKind.TIMEOUT

    async def test_usage_and_cost_of_all_attempts_are_added_up(self, make, provider, circumstances):
        reports = circumstances()
        spent = {"usage": Usage(input_tokens=1_000, output_tokens=10), "model": "claude-sonnet-4-5"}
        answer = Completion('{"n": 1}', provider="anthropic", **spent)
        provider.generate_content_async.side_effect = [
            BadOutputError("not JSON", answer=Completion("x", provider="anthropic", **spent)),
            OverloadedError("busy"),
            Completion("{}", provider="anthropic", **spent),
            answer,
        ]

        result = await make(retry=RetryPolicy(base_delay_s=0, max_attempts=4)).execute(task(output_schema=SCHEMA))

        assert result.metadata["usage"]["input_tokens"] == 3_000
        costs = [fact.cost_usd for fact in reports if isinstance(fact, CallFinished)]
        assert len(costs) == 3
        assert Decimal(result.metadata["cost_usd"]) == sum(map(Decimal, costs))

    async def test_a_cost_that_is_unknown_in_part_is_unknown(self, make, provider):
        known = {"usage": Usage(input_tokens=1), "provider": "anthropic"}
        provider.generate_content_async.side_effect = [
            Completion("x", model="no-such-model", **known),
            Completion('{"n": 1}', model="claude-sonnet-4-5", **known),
        ]

        result = await make(retry=RetryPolicy(base_delay_s=0)).execute(task(output_schema=SCHEMA))

        assert result.metadata["cost_usd"] is None
        assert result.metadata["usage"]["input_tokens"] == 2

    async def test_a_failure_s_cost_is_kept(self, executor, provider):
        provider.generate_content_async.return_value = Completion(
            "x", provider="local", model="m", usage=Usage(output_tokens=5)
        )

        result = await executor.execute(task(output_schema=SCHEMA, max_attempts=1))

        assert result.status is ExecutionStatus.FAILED
        assert result.metadata["cost_usd"] == "0"
        assert result.metadata["usage"]["output_tokens"] == 5


class TestTimeAndCancellation:
    @pytest.mark.looptime
    @pytest.mark.parametrize(("of_task", "of_agent", "limit_s"), [(5, None, 5), (5, 9, 5), (None, 9, 9)])
    async def test_the_timeout_spans_all_attempts(self, executor, registry, provider, of_task, of_agent, limit_s):
        async def busy(*_args, **_options):
            await asyncio.sleep(1)
            raise CallTimeoutError("slow")

        registry.register_agent(AgentConfig("slow", AgentType.OPENAI_GPT, timeout_s=of_agent, max_attempts=100))
        provider.generate_content_async.side_effect = busy

        result = await executor.execute(task("slow", timeout_s=of_task))

        assert asyncio.get_running_loop().time() == limit_s
        assert result.status is ExecutionStatus.FAILED
        assert result.failure_kind is FailureKind.TIMEOUT
        assert f"did not finish within {limit_s} s" in result.error
        assert result.metadata["attempts"] > 1

    @pytest.mark.looptime
    async def test_a_provider_s_own_timeout_is_not_the_task_s_and_is_tried_again(self, executor, provider):
        provider.generate_content_async.side_effect = [TimeoutError("socket"), "an answer"]

        assert (await executor.execute(task(timeout_s=100))).output == "an answer"

    async def test_a_function_s_own_timeout_is_its_error(self, executor, steps):
        steps("async def step(work): raise TimeoutError('mine')")

        result = await executor.execute(task("step", timeout_s=100))

        assert result.failure_kind is FailureKind.TASK_ERROR
        assert "TimeoutError: mine" in result.error

    @pytest.mark.parametrize("when", ["call", "wait"])
    async def test_cancellation_propagates(self, executor, provider, when):
        reached = asyncio.Event()

        async def hang(*_args, **_options):
            reached.set()
            if when == "call":
                await asyncio.Event().wait()
            raise RateLimitError("later", retry_after_s=200)

        provider.generate_content_async.side_effect = hang
        running = asyncio.create_task(executor.execute(task(timeout_s=300)))
        await reached.wait()
        await asyncio.sleep(0)

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert running.cancelled()

    async def test_a_cancellation_that_leaks_out_of_a_worker_is_the_task_s_error(self, executor, steps):
        steps("""
            import asyncio
            async def step(work):
                inner = asyncio.ensure_future(asyncio.sleep(10))
                inner.cancel()
                await inner
        """)

        result = await executor.execute(task("step"))

        assert result.failure_kind is FailureKind.TASK_ERROR
        assert "cancelled from within" in result.error

    async def test_what_the_orchestrator_cannot_store_is_no_failure_of_the_task(
        self, executor, provider, circumstances
    ):
        def full(_fact):
            raise StoreError("the disk is full")

        circumstances(report=full)

        with pytest.raises(StoreError, match="disk is full"):
            await executor.execute(task())


class TestStandIn:
    @pytest.fixture
    def scripts(self, tmp_path):
        folder = tmp_path / "scripts"
        folder.mkdir()
        (folder / "execute_claude.py").write_text(
            "import json, sys; t = json.load(sys.stdin); print(t['title'], t['prompt'].count('JSON Schema'))", "utf-8"
        )
        (folder / "execute_gpt.py").write_text("import sys; sys.exit('it broke')", "utf-8")
        return folder

    @pytest.mark.parametrize(
        ("raised", "reason"),
        [(ImportError("no SDK"), "missing_dependencies"), (RuntimeError("no key"), "missing_api_key")],
    )
    async def test_the_script_of_the_type_runs_when_the_sdk_or_the_key_is_missing(
        self, make, scripts, raised, reason, caplog
    ):
        with patch(GET_PROVIDER, side_effect=raised), caplog.at_level(logging.WARNING):
            result = await make(scripts_dir=scripts).execute(task())

        assert (result.status, result.output) == (ExecutionStatus.SUCCESS, "Write it 0")
        assert result.metadata["fallback_reason"] == reason
        assert result.metadata["script"] == "execute_claude.py"
        assert str(raised) in caplog.text

    async def test_the_real_factory_leads_there_too_when_no_key_is_set(self, make, scripts):
        result = await make(scripts_dir="scripts").execute(task())

        assert result.metadata["fallback_reason"] == "missing_api_key"
        assert result.output == "Write it 0"

    async def test_it_runs_on_request_and_the_provider_is_not_asked(self, make, scripts, provider):
        result = await make(scripts_dir=scripts).execute(task(metadata={"use_direct_llm": False}))

        assert result.output == "Write it 0"
        assert result.metadata["fallback_reason"] == "direct_llm_disabled"
        provider.get_provider.assert_not_called()

    async def test_it_is_told_of_the_schema(self, make, scripts):
        result = await make(scripts_dir=scripts).execute(task(output_schema=SCHEMA, max_attempts=1))

        assert result.metadata["answer"] == "Write it 1"

    async def test_its_failure_carries_the_exit_code_stderr_and_why_it_ran(self, make, scripts):
        result = await make(scripts_dir=scripts).execute(task("gpt"))

        assert result.status is ExecutionStatus.FAILED
        assert "exit code 1" in result.error
        assert "it broke" in result.error
        assert result.metadata["exit_code"] == 1
        assert result.metadata["fallback_reason"] == "missing_api_key"

    async def test_a_local_model_has_no_variable_to_set(self, make, registry):
        registry.register_agent(AgentConfig("local", AgentType.LOCAL))

        with patch(GET_PROVIDER, side_effect=ImportError("no xllamacpp")):
            error = (await make().execute(task("local"))).error

        assert "no xllamacpp" in error
        assert "async-orchestrator[local]" in error
        assert "variable" not in error

    @pytest.mark.parametrize(
        ("agent", "folder", "ways"),
        [
            ("claude", "scripts", ["async-orchestrator[anthropic]", "ANTHROPIC_API_KEY", "scripts/execute_claude.py"]),
            ("gpt", None, ["async-orchestrator[openai]", "MY_KEY", "execute_gpt.py to a folder given as scripts_dir"]),
        ],
    )
    async def test_without_a_script_the_result_says_what_is_missing_and_the_three_ways_out(
        self, make, agent, folder, ways
    ):
        result = await make(scripts_dir=folder).execute(task(agent))

        assert result.status is ExecutionStatus.FAILED
        assert result.failure_kind is FailureKind.UNAVAILABLE
        assert all(way in result.error for way in ways)
        assert result.metadata["fallback_reason"] == "missing_api_key"


class TestPeople:
    async def test_interactive_calls_nobody_and_is_pending_at_once(self, executor, provider):
        result = await executor.execute(task(description="In ten words."), mode="interactive")

        assert result.status is ExecutionStatus.PENDING
        assert "# Write it" in result.output
        assert "In ten words." in result.output
        assert "orchestrate answer t1" in result.output
        assert result.metadata == {"execution_mode": "interactive", "attempts": 0}
        assert result.completed_at is None
        provider.get_provider.assert_not_called()

    async def test_hybrid_drafts_and_is_pending_with_the_draft(self, executor, provider):
        result = await executor.execute(task(), mode="hybrid")

        assert (result.status, result.output) == (ExecutionStatus.PENDING, "an answer")
        assert result.metadata["execution_mode"] == "hybrid"

    async def test_a_draft_that_fails_is_a_failure(self, executor, provider):
        provider.generate_content_async.side_effect = RuntimeError("boom")

        assert (await executor.execute(task(), mode="hybrid")).status is ExecutionStatus.FAILED

    async def test_a_rejection_s_comment_is_in_the_next_draft_s_prompt(self, executor, provider, circumstances):
        circumstances(draft="My draft", comment="Too long")

        await executor.execute(task(), mode="hybrid")

        assert "My draft" in prompts(provider)[0]
        assert "Too long" in prompts(provider)[0]


class TestSecrets:
    SECRET = "sk-0123456789"

    async def test_known_values_are_replaced_in_output_data_error_log_and_reports(
        self, make, provider, monkeypatch, circumstances, caplog
    ):
        monkeypatch.setenv("MY_KEY", self.SECRET)
        reports = circumstances()
        provider.generate_content_async.side_effect = [
            CallTimeoutError(f"bad key {self.SECRET}"),
            f'{{"n": "{self.SECRET}"}}',
            KeyError(self.SECRET),
        ]
        executor = make(retry=RetryPolicy(base_delay_s=0))

        done = await executor.execute(task(output_schema=SCHEMA))
        failed = await executor.execute(task())

        assert done.output == '{"n": "***"}'
        assert done.metadata["data"] == {"n": "***"}
        assert failed.error == "KeyError: '***'"
        assert self.SECRET not in caplog.text
        assert self.SECRET not in str(reports)
        assert any("bad key ***" in fact.error for fact in reports if isinstance(fact, TaskRetrying))

    async def test_text_that_no_file_can_hold_is_made_storable(self, executor, provider):
        provider.generate_content_async.return_value = "ü\ud800"

        assert (await executor.execute(task())).output == "ü?"


class TestLife:
    async def test_closing_twice_is_fine_and_a_context_closes(self, registry):
        async with TaskExecutor(registry) as executor:
            await executor.execute(task("cat"))
        await executor.aclose()

    def test_two_event_loops_in_a_row_can_use_one_executor(self, registry, tmp_path):
        (tmp_path / "executor_steps.py").write_text("def step(work): return 'done'", "utf-8")
        executor = TaskExecutor(registry, root=tmp_path)

        async def once():
            async with executor:
                return (await executor.execute(task("step"))).output

        assert [asyncio.run(once()) for _ in range(2)] == ["done", "done"]

    async def test_each_execution_reads_its_own_circumstances(self, executor, steps):
        steps("async def step(work): return work.idempotency_key")

        async def one(run_id):
            current.set(AttemptContext(run_id=run_id, attempt=7))
            return (await executor.execute(task("step"))).output

        assert await asyncio.gather(one("a"), one("b")) == ["a/t1/7", "b/t1/7"]

    async def test_a_misconfigured_agent_is_the_caller_s_mistake(self, executor, registry):
        registry.register_agent(AgentConfig("empty", AgentType.SCRIPT))

        with pytest.raises(InvalidTaskError, match="has no command"):
            await executor.execute(task("empty"))

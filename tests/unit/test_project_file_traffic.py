"""What a project file says of limits, money, retries and who takes over."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.agent_registry import FALLBACK_KINDS, Fallback
from orchestration.budget import Budget, Budgets
from orchestration.errors import FailureKind, ProjectFileError
from orchestration.project_file import LaneCeilings, load_project
from orchestration.retry import RetryPolicy

HEAD = "default_agent: me\nagents: {me: {type: openai}}\ntasks: {a: {}}\n"


@pytest.fixture
def load(tmp_path):
    def write_and_load(content):
        path = tmp_path / "orchestrate.yaml"
        path.write_text(content)
        return load_project(path)

    return write_and_load


@pytest.fixture
def mistakes(load, tmp_path):
    def told(content):
        with pytest.raises(ProjectFileError) as caught:
            load(content)
        return [problem.removeprefix(f"{tmp_path / 'orchestrate.yaml'}:") for problem in caught.value.problems]

    return told


def test_a_file_that_says_nothing_of_it_limits_nothing(load):
    project = load(HEAD)
    assert project.limits == {}
    assert not project.budgets
    assert project.retry == RetryPolicy()


def test_limits_are_read_by_lane(load):
    project = load(
        HEAD + "limits:\n  anthropic: {rpm: 50, input_tpm: 30000, output_tpm: 8000}\n"
        "  openai/o4-mini: {tpm: 200000, concurrency: 3.0}\n  '*': {concurrency: 9}\n"
    )
    assert project.limits == {
        "anthropic": LaneCeilings(rpm=50, input_tpm=30000, output_tpm=8000),
        "openai/o4-mini": LaneCeilings(tpm=200000, concurrency=3),
        "*": LaneCeilings(concurrency=9),
    }
    assert type(project.limits["openai/o4-mini"].concurrency) is int


def test_budgets_are_read_for_the_project_and_its_parts(load):
    project = load(
        """
agents:
  me: {type: openai, budget: {usd: 0.30}}
  you: {type: local}
budget:
  usd: 2
  tokens: 1000000
  on_limit: wait
  allow_unknown_price: true
  tags: {research: {usd: .1}}
tasks:
  a: {agent: me, budget: {tokens: 500}, tags: [research, slow, research]}
  b: {agent: you, tags: []}
"""
    )
    assert project.budgets == Budgets(
        project=Budget(usd=Decimal(2), tokens=1_000_000),
        agents={"me": Budget(usd=Decimal("0.30"))},
        tasks={"a": Budget(tokens=500)},
        tags={"research": Budget(usd=Decimal("0.1"))},
        tagged={"a": ("research", "slow")},
        on_limit="wait",
        allow_unknown_price=True,
    )


def test_a_budget_of_a_tag_alone_leaves_the_project_without(load):
    project = load(
        "budget: {tags: {x: {usd: 1}}}\nagents: {me: {type: openai}}\ntasks: [{id: a, agent: me, tags: [x]}]"
    )
    assert project.budgets.project is None
    assert [name for name, _ in project.budgets.limits(project.budgets.scopes("a", "me"))] == ["tag:x"]


def test_what_a_task_may_cost_is_no_part_of_the_task(load):
    """Else raising a budget would make completed work run again."""
    plain = load(HEAD)
    priced = load(
        "default_agent: me\nagents: {me: {type: openai, budget: {usd: 1}}}\n"
        "tasks: {a: {budget: {usd: 1}, tags: [x]}}\nbudget: {usd: 1}\n"
    )
    assert plain.tasks == priced.tasks
    assert plain.agents == priced.agents


@given(st.decimals(min_value="0.000001", max_value="1e12", places=6))
@settings(deadline=None, max_examples=50)
def test_money_is_read_as_it_is_written(tmp_path_factory, amount):
    path = tmp_path_factory.mktemp("money") / "orchestrate.yaml"
    path.write_text(f"{HEAD}budget: &b\n  usd: {amount:f}\n")
    assert load_project(path).budgets.project.usd == amount


@pytest.mark.parametrize(
    ("written", "amount"), [("0.1", "0.1"), ("1e-2", "0.01"), ("+3", "3"), ("0x10", "16"), ("5.", "5")]
)
def test_each_form_of_a_number_is_the_same_money(load, written, amount):
    assert load(f"{HEAD}budget: {{usd: {written}}}\n").budgets.project.usd == Decimal(amount)


def test_money_through_an_alias_is_exact_too(load):
    content = "budget: {usd: &u 0.1, tags: {t: {usd: *u}}}\n"
    project = load(content + "agents: {me: {type: openai}}\ntasks: {a: {agent: me, tags: [t]}}")
    assert project.budgets.tags["t"].usd == project.budgets.project.usd == Decimal("0.1")


def test_retries_are_read(load):
    content = "retry: {max_attempts: 5, base_delay_s: 0.5, max_delay_s: 9, max_parked_s: 60, park: false}\n"
    assert load(HEAD + content).retry == RetryPolicy(
        max_attempts=5, base_delay_s=0.5, max_delay_s=9, max_parked_s=60, park=False
    )


def test_a_chain_names_agents_and_when_they_take_over(load):
    project = load(
        "agents:\n  me: {type: openai, fallback: [you, {agent: big, on: [context_length]}, {agent: last}]}\n"
        "  you: {type: anthropic, fallback: [me]}\n  big: {type: gemini}\n  last: {type: human}\n"
        "tasks: {a: {agent: me}}\n"
    )
    assert project.agents[0].fallback == (
        Fallback(agent="you", on=FALLBACK_KINDS),
        Fallback(agent="big", on=frozenset({FailureKind.CONTEXT_LENGTH})),
        Fallback(agent="last"),
    )
    assert project.agents[1].fallback == (Fallback(agent="me"),)  # each may stand in for the other


MISTAKES = [
    ("limits: {antropic: {rpm: 1}}", "4:10: limits.antropic: 'antropic' has the wrong form; expected a provider, or"),
    ("limits: {anthropic/claude-sonnet-5: {rpm: 1}}", "4:10: limits['anthropic/claude-sonnet-5']: 'anthropic/claude-s"),
    ("limits: {openai: {}}", "4:18: limits.openai: is empty; expected at least one limit, such as {rpm: 50}"),
    ("limits: {openai: {rmp: 1}}", "4:19: limits.openai.rmp: this key is not known; did you mean 'rpm'?"),
    ("limits: {openai: {rpm: 0}}", "4:24: limits.openai.rpm: 0 is less than 1; expected a whole number from 1 up"),
    ("limits: 50", "4:9: limits: 50 is not a mapping; expected limits by lane, such as anthropic: {rpm: 50}"),
    ("budget: 2", "4:9: budget: 2 is not a mapping; expected a budget, such as {usd: 2.5}"),
    ("budget: {}", "4:9: budget: is empty; expected a budget, such as {usd: 2.5}"),
    ("budget: {usd: '2'}", "4:15: budget.usd: '2' is not a number; expected US dollars above 0, such as 2.5"),
    ("budget: {usd: 0.0}", "4:15: budget.usd: 0.0 is not above 0; expected US dollars above 0, such as 2.5"),
    ("budget: {usd: $2}", "4:15: budget.usd: '$2' is not a number; expected US dollars above 0, such as 2.5"),
    ("budget: {tokens: 1.5}", "4:18: budget.tokens: 1.5 is not a whole number; expected a whole number from 1 up"),
    ("budget: {usd: 1, on_limit: halt}", "4:28: budget.on_limit: 'halt' is not one of stop, wait"),
    ("budget: {tags: {x: {usd: 1}}}", "4:17: budget.tags.x: no task has the tag 'x'"),
    ("budget: {usd: 1, onlimit: wait}", "4:18: budget.onlimit: this key is not known; did you mean 'on_limit'?"),
    ("retry: {park: maybe}", "4:15: retry.park: 'maybe' is not a boolean; expected true or false"),
    ("retry: {base_delay_s: -1}", "4:23: retry.base_delay_s: -1 is not above 0; expected seconds above 0, such as 1"),
]


@pytest.mark.parametrize(("content", "told"), MISTAKES, ids=lambda value: value[:40])
def test_a_mistake_is_told_with_what_was_expected(mistakes, content, told):
    assert mistakes(HEAD + content + "\n")[0].startswith(told)


CHAINS = [
    ("[gtp]", "2:36: agents.me.fallback[0]: there is no agent 'gtp'; did you mean 'gpt'?"),
    ("[{agent: gtp}]", "2:44: agents.me.fallback[0].agent: there is no agent 'gtp'; did you mean 'gpt'?"),
    ("[off]", "2:36: agents.me.fallback[0]: the agent 'off' is disabled; enable it or name another"),
    ("[me]", "2:36: agents.me.fallback[0]: the agent 'me' would take over from itself; name another"),
    ("[gpt, {agent: gpt}]", "2:49: agents.me.fallback[1].agent: the agent 'gpt' is in this chain already; keep one"),
    ("gpt", "2:35: agents.me.fallback: 'gpt' is not a list; expected a list of agents, such as [gpt, local]"),
    ("['']", "2:36: agents.me.fallback[0]: is empty; expected the name of an agent, or {agent: gpt, on: [overl"),
    ("[1]", "2:36: agents.me.fallback[0]: 1 is not text or a mapping (to be text it needs quotes); expected the"),
    ("[{on: [quota]}]", "2:36: agents.me.fallback[0]: the key 'agent' is missing; expected the name of an agent, such"),
    ("[{agent: gpt, on: [qota]}]", "2:54: agents.me.fallback[0].on[0]: 'qota' is not one of rate_limit, quota, "),
    ("[{agent: gpt, on: []}]", "2:53: agents.me.fallback[0].on: is empty; expected a list of kinds of failure, such"),
    ("[{agent: gpt, when: []}]", "2:49: agents.me.fallback[0].when: this key is not known"),
]


@pytest.mark.parametrize(("chain", "told"), CHAINS, ids=lambda value: value[:40])
def test_a_chain_that_leads_nowhere_is_told(mistakes, chain, told):
    content = (
        f"agents:\n  me: {{type: openai,    fallback: {chain}}}\n  gpt: {{type: openai}}\n"
        "  off: {type: openai, enabled: false}\ntasks: {a: {agent: me}}\n"
    )
    assert mistakes(content)[0].startswith(told)


def test_options_that_mean_nothing_for_an_agent_are_told(mistakes):
    content = "agents: {me: {type: human, fallback: [me], budget: {usd: 1}}}\ntasks: {a: {agent: me}}\n"
    told = mistakes(content)
    assert "agents.me.budget: 'budget' means nothing for an agent of type 'human'" in told[-1]
    assert "agents.me.fallback: 'fallback' means nothing for an agent of type 'human'" in told[-2]


def test_a_misspelled_tag_is_met_with_the_right_one(mistakes):
    content = "budget: {tags: {reserch: {usd: 1}}}\nagents: {me: {type: openai}}\n"
    content += "tasks: {a: {agent: me, tags: [research]}}\n"
    assert mistakes(content) == ["1:17: budget.tags.reserch: no task has the tag 'reserch'; did you mean 'research'?"]
    assert "the tags of this file: 'research'" in mistakes(content.replace("reserch", "x"))[0]

"""Rate limits, overload, used-up quotas and budgets, as whoever runs a project meets them: real processes, sockets."""

import json
import os
import signal

import pytest

pytestmark = pytest.mark.acceptance

# At gpt-4o-mini's price a call of the server comes to 0.00012 and has a worst case of about 0.00016.
PRICED = "gpt-4o-mini"


def write(project, agents, tasks, **top):
    """Write a project of tasks by id -> the agent's name, or a mapping."""
    full = {
        name: {"prompt": "Hello."} | (task if isinstance(task, dict) else {"agent": task})
        for name, task in tasks.items()
    }
    document = {"project": "trial", "agents": agents, "tasks": full} | top
    (project.folder / "orchestrate.yaml").write_text(json.dumps(document))


def end(process, timeout=20):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def test_a_429_that_asks_for_patience_is_waited_out_without_using_up_an_attempt(project, models):
    write(project, {"ann": models.agent("limited-model")}, {"a": "ann"})
    done = project("run")
    assert done.returncode == 0, done.stdout
    assert "  a  parked  until " in done.stdout
    shown = project.json("show", "a")
    assert [attempt["parked"] for attempt in shown["attempts"]] == [1]
    assert models.calls["limited-model"] == 2


def test_overload_hands_the_task_to_the_fallback_agent_and_says_so(project, models):
    agents = {"ann": models.agent("busy-model", fallback=["bob"]), "bob": models.agent(PRICED)}
    write(project, agents, {"a": "ann"})
    done = project("run")
    assert done.returncode == 0, done.stdout
    assert "  a  running  bob takes over  overloaded: " in done.stdout
    assert "  a  done  bob for ann  " in done.stdout
    shown = project.json("show", "a")
    assert shown["result"]["output"] == f"by {PRICED}"
    assert shown["fallback_from"] == ["ann"]
    assert [(attempt["agent"], attempt["model"]) for attempt in shown["attempts"]] == [("ann", ""), ("bob", PRICED)]
    assert "agent         bob, which took over from ann" in project("show", "a").stdout


class TestABudget:
    @pytest.fixture
    def stopped(self, project, models):
        """A run of six calls, of which the budget allows three."""
        ann = models.agent(PRICED, max_concurrent=1)
        write(project, {"ann": ann}, {f"t{n}": "ann" for n in range(6)}, budget={"usd": 0.0005})
        project.run = project("run")
        return project

    def test_stops_the_run_before_it_is_passed_and_a_larger_one_finishes_it(self, stopped, models):
        assert stopped.run.returncode == 1
        assert "Stopped by the budget: 3 tasks left." in stopped.run.stdout
        assert "the budget of the project, $0.0005, does not hold this call's worst case" in stopped.run.stdout
        next_command = "orchestrate run --budget 0.0010"
        assert next_command in stopped.run.stdout
        assert next_command in stopped("status").stdout
        assert models.calls[PRICED] == 3
        again = stopped(*next_command.split()[1:])
        assert again.returncode == 0, again.stdout
        assert models.calls[PRICED] == 6  # what was paid for is not asked for again
        assert "budget: $0.0007 of $0.0010 spent" in again.stdout

    def test_stops_it_again_while_it_is_not_raised(self, stopped, models):
        assert stopped("run").returncode == 1
        assert models.calls[PRICED] == 3

    def test_is_accounted_for_by_everyone_who_spent(self, stopped):
        rows = {(row["scope"], row["name"]): row for row in stopped.json("budget")["rows"]}
        assert rows["project", ""]["left_usd"] == "0.00014"
        for account in (("agent", "ann"), ("model", PRICED)):
            assert rows[account]["spend"]["cost_usd"] == "0.00036"
        assert rows["task", "t0"]["spend"]["calls"] == 1
        said = stopped("budget").stdout
        assert "project" in said
        assert f"model {PRICED}" in said
        status = stopped("status").stdout
        assert f"  by model:  {PRICED} $0.0004" in status
        costs = {(row["scope"], row["name"]): row for row in stopped.json("status")["costs"]}
        assert costs["project", ""]["budget_usd"] == "0.0005"
        assert costs["model", PRICED]["spend"]["calls"] == 3

    def test_that_is_raised_lets_a_live_run_that_waits_for_it_go_on(self, project, models):
        ann = models.agent(PRICED, max_concurrent=1)
        write(project, {"ann": ann}, {"a": "ann", "b": "ann"}, budget={"usd": 0.0002, "on_limit": "wait"})
        live = project.start("run")
        project.until(lambda: any(task["parked"] for task in project.json("status")["tasks"]))
        assert "until the budget is raised" in project("status").stdout
        assert "orchestrate budget USD" in project("show", "b").stdout
        raised = project("budget", "$0.01")
        assert raised.returncode == 0, raised.stderr
        assert "the project's budget is $0.01 from now on" in raised.stdout
        code, out, _ = end(live)
        assert code == 0, out
        assert "budget: $0.0002 of $0.0100 spent" in out

    def test_that_nobody_waits_for_cannot_be_raised(self, stopped):
        done = stopped("budget", "3")
        assert done.returncode == 2
        assert "nothing is running" in done.stderr
        assert "orchestrate run --budget 3" in done.stderr

    @pytest.mark.parametrize("amount", ["abc", "0", "-1", "inf", "1,5"])
    def test_is_an_amount_of_money(self, stopped, amount):
        done = stopped("run", f"--budget={amount}")
        assert done.returncode == 2
        assert "expected US dollars above 0, such as 2.50" in done.stderr

    def test_in_money_refuses_what_has_no_known_price_unless_told_otherwise(self, project, models):
        write(project, {"ann": models.agent("no-such-model")}, {"a": "ann"}, budget={"usd": 1})
        done = project("run")
        assert done.returncode == 1
        assert "set allow_unknown_price: true under budget" in done.stdout
        assert models.calls.total() == 0
        write(
            project,
            {"ann": models.agent("no-such-model")},
            {"a": "ann"},
            budget={"usd": 1, "allow_unknown_price": True},
        )
        done = project("run")
        assert done.returncode == 0
        assert "no price is known for 1 call" in done.stdout

    def test_counts_a_call_at_its_worst_when_the_run_is_killed_meanwhile(self, project, models):
        model = "gpt-4o-mini-stuck"
        write(project, {"ann": models.agent(model)}, {"a": "ann"}, budget={"tokens": 5000})
        live = project.start("run")
        project.until(lambda: models.calls[model])
        reserved = project.json("budget")["rows"][0]["reserved_tokens"]
        assert reserved > 350
        live.send_signal(signal.SIGKILL)
        live.wait()
        row = project.json("budget")["rows"][0]
        assert (row["reserved_tokens"], row["left_tokens"]) == (0, 5000 - reserved)
        assert "nobody knows what became of 1 call" in project("budget").stdout
        models.mend()
        assert project("run").returncode == 0
        assert project.json("budget")["rows"][0]["left_tokens"] == 5000 - reserved - 350


def test_changing_budgets_and_tags_makes_no_completed_task_run_again(project, models):
    agents = {"ann": models.agent(PRICED)}
    write(project, agents, {"a": "ann"})
    assert project("run").returncode == 0
    write(project, agents, {"a": {"agent": "ann", "tags": ["x"], "budget": {"usd": 1}}}, budget={"usd": 1})
    assert project("run").returncode == 0
    assert models.calls.total() == 1


class TestMoneyThatIsGone:
    def test_fails_what_needs_it_without_trying_again_and_tells_a_person(self, project, models):
        write(project, {"ann": models.agent("broke-model", max_concurrent=1)}, {"a": "ann", "b": "ann"})
        done = project("run")
        assert done.returncode == 1
        assert models.calls["broke-model"] == 1  # the second one is not sent at all
        assert "failed: a  quota: " in done.stdout
        assert "failed: b  quota: " in done.stdout
        assert "raise it where you pay for it, or give the agent a `fallback`" in done.stdout
        models.mend()
        assert project("run").returncode == 0

    def test_can_be_told_to_a_live_run_when_it_is_back(self, project, models):
        agents = {"ann": models.agent("broke-model"), "bob": models.agent("stuck-model")}
        write(project, agents, {"a": "ann", "hold": "bob", "b": {"agent": "ann", "dependencies": ["hold"]}})
        live = project.start("run")
        project.until(lambda: project.statuses().get("a") == "failed")
        lanes = project.json("limits")["lanes"]
        assert [lane["is_stopped"] for lane in lanes if lane["name"] == "openai/broke-model"] == [True]
        assert "no call has gone through a lane 'gemini' yet" in project("limits", "gemini", "--reopen").stderr
        assert "reopened: openai/broke-model" in project("limits", "openai/broke-model", "--reopen").stdout
        models.mend()
        code, _, err = end(live)
        assert code == 1  # of `a` alone
        assert project.statuses() == {"a": "failed", "hold": "completed", "b": "completed"}
        assert "lane openai/broke-model waits for a person" in err


class TestLimits:
    def test_hold_a_live_run_back_until_they_are_lifted(self, project, models):
        agents = {"ann": models.agent(PRICED)}
        write(project, agents, {f"t{n}": "ann" for n in range(4)}, limits={"openai": {"rpm": 1, "concurrency": 3}})
        live = project.start("run")

        def waiting():
            lanes = project.json("limits")["lanes"]
            return lanes and lanes[0]["waiting"] and lanes[0]

        lane = project.until(waiting)
        assert lane["reason"] == "our limit of requests per minute"
        assert lane["ceilings"] == {"rpm": 1, "concurrency": 3}
        assert "our limit of requests per minute" in project("limits").stdout
        changed = project("limits", "openai/gpt-mini", "concurrency=2")
        assert "lane openai/gpt-mini: rpm=1 concurrency=2 from now on" in changed.stdout  # what is not said stays
        lifted = project("limits", "openai/gpt-mini", "rpm=none", "concurrency=none")
        assert "lane openai/gpt-mini: no limit from now on" in lifted.stdout
        code, out, err = end(live)
        assert code == 0, out
        assert "for lane openai/gpt-mini: our limit of requests per minute" in err

    def test_of_the_file_are_shown_while_nothing_runs(self, project):
        write(project, {"ann": {"type": "openai"}}, {"a": "ann"}, limits={"openai/o4-mini": {"rpm": 5}})
        assert project("limits").stdout == "openai/o4-mini  rpm=5\n"
        assert project.json("limits") == {"message": "", "lanes": [], "limits": {"openai/o4-mini": {"rpm": 5}}}
        write(project, {"ann": {"type": "openai"}}, {"a": "ann"})
        assert "no limits are set" in project("limits").stdout

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["openai", "rpm=5"], "nothing is running, so no lane can be changed; set it under 'limits'"),
            (["openai", "--reopen"], "nothing is running"),
            (["--reopen"], "--reopen needs a LANE"),
            (["openia"], "'openia' is no lane; expected a provider"),
            (["openai/gpt-5"], "without version or date"),
            (["openai", "rmp=5"], "'rmp=5' is no limit; did you mean 'rpm'?"),
            (["openai", "x=5"], "'x=5' is no limit; expected one of rpm, tpm, input_tpm"),
            (["openai", "rpm=0"], "'rpm=0': expected a whole number above 0, or none"),
            (["openai", "rpm"], "'rpm': expected a whole number above 0"),
        ],
    )
    def test_that_cannot_be_are_refused(self, project, arguments, says):
        write(project, {"ann": {"type": "openai"}}, {"a": "ann"})
        done = project("limits", *arguments)
        assert done.returncode == 2
        assert says in done.stderr


def test_without_parking_the_run_ends_and_goes_on_later(project, models):
    write(project, {"ann": models.agent("busy-model")}, {"a": "ann"})
    done = project("run", "--no-park")
    assert done.returncode == 130
    assert "task 'a' would be parked" in done.stdout
    assert "Go on with: orchestrate run" in done.stdout
    models.mend()
    assert project("run").returncode == 0


def test_the_document_of_a_run_has_its_costs_by_model(project, models):
    write(project, {"ann": models.agent(PRICED)}, {"a": "ann"}, budget={"usd": 1})
    done = project("run", "--json", "--budget", "2.00")
    document = json.loads(done.stdout)
    rows = {(row["scope"], row["name"]): row for row in document["costs"]}
    assert rows["project", ""]["budget_usd"] == "2"
    assert rows["model", PRICED]["spend"]["cost_usd"] == "0.00012"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a terminal")
def test_the_live_table_shows_the_budget_and_what_is_parked(project, models):
    write(project, {"ann": models.agent("busy-model")}, {"a": "ann"}, budget={"usd": 1, "allow_unknown_price": True})
    import pty

    master, slave = pty.openpty()
    env = {**project.env, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    live = project.start("run", stdout=slave, env=env)
    os.close(slave)
    seen = b""
    while "‖ parked".encode() not in seen or b"budget: $0 of $1.00 spent" not in seen:
        seen += os.read(master, 4096)
    models.mend()
    try:
        while os.read(master, 4096):
            pass
    except OSError:
        pass  # the other end is closed: that is how a terminal ends
    assert live.wait() == 0
    os.close(master)

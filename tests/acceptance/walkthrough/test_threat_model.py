"""What docs/threat-model.md says an attacker cannot do, tried: hostile files, templates, answers; the real command."""

import json
import socket
import stat

import pytest

pytestmark = pytest.mark.acceptance

PROJECT = {
    "project": "hostile",
    "agents": {"echo": {"type": "cli", "command": ["cat"]}},
    "tasks": {"one": {"agent": "echo", "prompt": "hello"}},
}


@pytest.fixture
def hostile(shell):
    """Write a project whose first task has these fields; returns the shell."""

    def write(**fields):
        tasks = {"one": PROJECT["tasks"]["one"] | fields}
        (shell.folder / "orchestrate.yaml").write_text(json.dumps(PROJECT | {"tasks": tasks}))
        return shell

    return write


def refusal(shell, *words, exit_code=2):
    """Return what the command said when it refused."""
    return shell("bash", "-c", f"{' '.join(words)} 2>&1", exit_code=exit_code)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\n" + "".join(f"c{n}: &c{n} [{', '.join(['*b'] * 400)}]\n" for n in range(600)),
        "a: " + "[" * 200 + "]" * 200,
        "tasks: !!python/object/apply:os.system ['touch owned']",
        "x" * 6_000_000,
    ],
    ids=["aliases", "nesting", "tags", "size"],
)
def test_a_hostile_yaml_file_is_refused(shell, text):
    (shell.folder / "orchestrate.yaml").write_text(text)

    assert "error: orchestrate.yaml" in refusal(shell, "orchestrate", "run")
    assert not (shell.folder / "owned").exists()
    assert not (shell.folder / ".orchestration").exists()


@pytest.mark.parametrize("name", ["../out.txt", "/srv/out.txt", "link/out.txt"])
def test_an_output_file_outside_of_the_project_is_refused(hostile, tmp_path_factory, name):
    shell = hostile(output_file=name)
    outside = tmp_path_factory.mktemp("outside")
    (shell.folder / "link").symlink_to(outside)

    said = refusal(shell, "orchestrate", "run")

    assert "output_file" in said
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", "-rf"])
def test_a_task_id_that_could_be_a_path_or_an_option_is_refused(shell, name):
    (shell.folder / "orchestrate.yaml").write_text(json.dumps(PROJECT | {"tasks": {name: PROJECT["tasks"]["one"]}}))

    assert "error: orchestrate.yaml" in refusal(shell, "orchestrate", "validate")


def test_validate_and_graph_run_nothing_of_a_project(shell):
    agents = {"own": {"type": "python", "function": "own:work"}, "sh": {"type": "cli", "command": ["touch", "owned"]}}
    tasks = {"a": {"agent": "own"}, "b": {"agent": "sh", "prompt": "{{ file('secret.txt') }}"}}
    (shell.folder / "orchestrate.yaml").write_text(json.dumps({"agents": agents, "tasks": tasks}))
    (shell.folder / "own.py").write_text("open('owned', 'w')\n")

    shell("orchestrate", "validate")
    shell("orchestrate", "graph")

    assert sorted(path.name for path in shell.folder.iterdir()) == ["orchestrate.yaml", "own.py"]


HOSTILE_TEMPLATES = (
    "{{ ''.__class__.__mro__ }}",
    "{% set it = task %}{{ it.__init__.__globals__ }}",
    "{{ file.__self__ }}",
    "{{ file('../outside.txt') }}",
    "{{ file('/etc/passwd') }}",
    "{{ file('link.txt') }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ 'x' * 99999999999 }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
)


def test_templates_reach_nothing_but_their_data_and_end(shell):
    tasks = {f"t{n}": {"agent": "echo", "prompt": prompt} for n, prompt in enumerate(HOSTILE_TEMPLATES)}
    (shell.folder / "orchestrate.yaml").write_text(json.dumps(PROJECT | {"tasks": tasks}))
    outside = shell.folder.parent / "outside.txt"
    outside.write_text("private")
    (shell.folder / "link.txt").symlink_to(outside)

    said = refusal(shell, "orchestrate", "run", exit_code=1)

    assert {task["status"] for task in shell.status().values()} == {"failed"}
    assert "private" not in said
    assert "root:" not in said


def test_what_a_worker_answers_is_never_a_template(shell):
    agents = {"echo": {"type": "cli", "command": ["cat"]}, "liar": {"type": "python", "function": "liar:answer"}}
    tasks = {
        "lie": {"agent": "liar"},
        "pass-on": {
            "agent": "echo",
            "dependencies": ["lie"],
            "prompt": "{{ tasks.lie.output }}",
            "output_file": "on.txt",
        },
    }
    (shell.folder / "orchestrate.yaml").write_text(json.dumps({"agents": agents, "tasks": tasks}))
    (shell.folder / "liar.py").write_text("def answer(work):\n    return \"{{ 6 * 7 }} {{ file('liar.py') }}\"\n")

    shell("orchestrate", "run")

    assert shell.read("on.txt") == "{{ 6 * 7 }} {{ file('liar.py') }}"


def write_project(shell, **fields):
    (shell.folder / "orchestrate.yaml").write_text(json.dumps({"project": "hostile"} | fields))


def holds(folder, secret):
    """Say which files below the folder hold the secret."""
    return [path.name for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_a_known_secret_is_neither_stored_nor_shown(shell):
    said = "echo my key is $TEAM_KEY; echo $TEAM_KEY >&2; exit $CODE"
    agents = {
        "echo": {"type": "script", "command": ["sh", "-c", said]},
        "claude": {"type": "anthropic", "api_key_env": "TEAM_KEY"},
    }
    write_project(shell, agents=agents, tasks={"one": {"agent": "echo", "output_file": "out.txt"}})
    shell.env |= {"TEAM_KEY": "sk-secret-0123456789", "CODE": "0"}

    said = shell("orchestrate", "run", "-vv") + shell("orchestrate", "show", "one", "--json")
    shell("orchestrate", "reset", "one")
    shell.env |= {"CODE": "3"}
    said += refusal(shell, "orchestrate", "run", "-vv", exit_code=1)

    assert "my key is ***" in said
    assert "sk-secret" not in said
    assert holds(shell.folder, b"sk-secret") == []


def test_a_cli_program_sees_no_key_and_nothing_else_that_it_was_not_given(shell):
    agents = {"curious": {"type": "cli", "command": ["env"], "env": ["STAGE", "TEAM_*"]}}
    write_project(shell, agents=agents, tasks={"one": {"agent": "curious"}})
    given = {"STAGE": "test", "TEAM_NAME": "red"}
    shell.env |= given | {"ANTHROPIC_API_KEY": "sk-secret-0123456789", "DATABASE_URL": "sk-secret-base"}

    shell("orchestrate", "run")

    seen = dict(line.split("=", 1) for line in shell.output("one").splitlines())
    assert given.items() <= seen.items()
    assert "DATABASE_URL" not in seen
    assert holds(shell.folder, b"sk-secret") == []


def test_what_a_cli_program_prints_is_kept_without_the_keys_that_are_known(shell):
    agents = {
        "careless": {"type": "cli", "command": ["sh", "-c", "echo $TEAM_KEY"], "env": ["TEAM_KEY"]},
        "claude": {"type": "anthropic", "api_key_env": "TEAM_KEY"},
    }
    write_project(shell, agents=agents, tasks={"one": {"agent": "careless"}})
    shell.env |= {"TEAM_KEY": "sk-secret-0123456789"}

    shell("orchestrate", "run")

    assert shell.output("one") == "***"
    assert holds(shell.folder, b"sk-secret") == []
    assert holds(shell.folder / ".orchestration" / "hostile.artefacts", b"***") == ["stdout.log"]


def test_a_coding_agent_gets_all_rights_only_where_a_sandbox_is_declared(shell):
    agents = {"coder": {"type": "cli", "tool": "claude", "permissions": "full"}}
    write_project(shell, agents=agents, tasks={"one": {"agent": "coder"}})

    assert "agents.coder.permissions" in refusal(shell, "orchestrate", "validate")

    write_project(shell, agents=agents, tasks={"one": {"agent": "coder"}}, sandbox="a container")
    assert "is fine" in shell("orchestrate", "validate")


def test_an_argument_that_lifts_a_coding_agents_limits_is_refused_before_it_is_started(shell):
    agents = {
        "coder": {
            "type": "cli",
            "tool": "claude",
            "command": ["touch", "owned"],
            "extras": {"args": ["--dangerously-skip-permissions"]},
        }
    }
    write_project(shell, agents=agents, tasks={"one": {"agent": "coder"}})

    said = refusal(shell, "orchestrate", "run", exit_code="1 or 2")

    assert "takes away the limits" in said
    assert not (shell.folder / "owned").exists()


@pytest.mark.parametrize(
    "more",
    [{"command": ["touch", "owned"]}, {"checks": [{"command": ["touch", "owned"]}]}, {"output_file": "owned"}],
    ids=["command", "check", "file"],
)
def test_a_task_that_a_result_adds_brings_no_command_and_no_file(shell, more):
    agents = {"planner": {"type": "python", "function": "plan:make"}}
    write_project(shell, agents=agents, tasks={"plan": {"agent": "planner", "adds_tasks": True, "max_attempts": 1}})
    tasks = [{"id": "a", "title": "harmless", **more}]
    (shell.folder / "plan.py").write_text(f"def make(work):\n    return {{'tasks': {tasks!r}}}\n")

    refusal(shell, "orchestrate", "run", exit_code=1)

    assert set(shell.status()) == {"plan"}
    assert not (shell.folder / "owned").exists()


def test_the_texts_of_an_added_task_are_never_templates(shell):
    agents = {
        "planner": {"type": "python", "function": "plan:make"},
        "echo": {"type": "python", "function": "plan:echo"},
    }
    write_project(shell, agents=agents, tasks={"plan": {"agent": "planner", "adds_tasks": True}})
    text = "{{ 6 * 7 }} {{ file('plan.py') }}"
    tasks = [{"id": "a", "title": text, "description": text, "agent": "echo"}]
    (shell.folder / "plan.py").write_text(
        f"def make(work):\n    return {{'tasks': {tasks!r}}}\n\n\ndef echo(work):\n    return work.prompt\n"
    )

    shell("orchestrate", "run")

    assert text in shell.output("plan.a")
    assert "42" not in shell.output("plan.a")


def test_a_schema_is_not_fetched_from_the_network(hostile):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        shell = hostile(prompt="1", output_schema={"$ref": url}, max_attempts=1)

        said = refusal(shell, "orchestrate", "run", exit_code="1 or 2")

        assert url in said
        with pytest.raises(BlockingIOError):
            server.accept()


def test_state_files_keep_to_the_umask(hostile):
    shell = hostile()

    shell("bash", "-c", "umask 077; orchestrate run")

    modes = [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (shell.folder / ".orchestration").rglob("*")]
    assert modes
    assert set(modes) == {0}

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


def test_a_known_secret_is_neither_stored_nor_shown(hostile):
    shell = hostile(output_file="out.txt")
    agents = {
        "echo": {"type": "cli", "command": ["sh", "-c", "echo my key is $TEAM_KEY; echo $TEAM_KEY >&2; exit $CODE"]}
    }
    claude = {"claude": {"type": "anthropic", "api_key_env": "TEAM_KEY"}}
    project = json.loads(shell.read("orchestrate.yaml")) | {"agents": agents | claude}
    (shell.folder / "orchestrate.yaml").write_text(json.dumps(project))
    shell.env |= {"TEAM_KEY": "sk-secret-0123456789", "CODE": "0"}

    said = shell("orchestrate", "run", "-vv") + shell("orchestrate", "show", "one", "--json")
    shell("orchestrate", "reset", "one")
    shell.env |= {"CODE": "3"}
    said += refusal(shell, "orchestrate", "run", "-vv", exit_code=1)

    assert "my key is ***" in said
    assert "sk-secret" not in said
    assert all(b"sk-secret" not in path.read_bytes() for path in shell.folder.rglob("*") if path.is_file())


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

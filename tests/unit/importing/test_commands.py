"""The commands `import` and `migrate`: what they print, write and refuse."""

import io
import json
import sys

import pytest

from orchestration.cli import importing, main
from orchestration.cli.commands import COMMANDS, Entry
from orchestration.importing import ImportedAgent, PlanOptions
from orchestration.project_file import load_project

PLAN = {
    "master": {"tasks": [{"id": 1, "title": "a", "status": "done"}, {"id": 2, "title": "b", "dependencies": [1]}]},
    "beta": {"tasks": [{"id": 7, "title": "c", "status": "blocked"}]},
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with a tasks.json and return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(COMMANDS, "import", Entry("importing", "import_", ""))
    monkeypatch.setitem(COMMANDS, "migrate", Entry("importing", "migrate", ""))
    (tmp_path / "tasks.json").write_text(json.dumps(PLAN))

    def ran(*words):
        code = main(list(words))
        return code, *capsys.readouterr()

    return ran


@pytest.fixture
def loaded(tmp_path):
    """Return a function that loads a project file of the folder."""
    return lambda name="orchestrate.yaml": load_project(tmp_path / name)


def test_a_plan_becomes_the_folders_project_file(run, loaded):
    code, out, err = run("import", "tasks.json")
    assert code == 0
    assert out == (
        "wrote orchestrate.yaml: 1 task, 1 agent\n\n"
        "See what it is:  orchestrate graph\nRun it:          orchestrate run\n"
    )
    assert err == "took the tag 'master'; there are also 'beta' (--tag NAME)\n"
    project = loaded()
    assert [(task.task_id, task.title) for task in project.tasks] == [("2", "b")]
    assert (project.default_agent, project.agents[0].agent_type, project.project_id) == ("me", "human", "master")


def test_the_agent_can_be_chosen(run, loaded):
    assert run("import", "tasks.json", "--agent", "coder", "--command", "claude -p 'do it'")[0] == 0
    (agent,) = loaded().agents
    assert (agent.name, agent.agent_type, agent.command) == ("coder", "cli", ("claude", "-p", "do it"))


def test_a_coding_agent_is_named_by_its_tool_and_may_only_look(run, tmp_path, loaded):
    assert run("import", "tasks.json", "--agent", "coder", "--tool", "claude")[0] == 0
    (agent,) = loaded().agents
    assert (agent.agent_type, agent.tool, agent.permissions) == ("cli", "claude", "read-only")
    assert (
        "  # It may only look. To let it change files: permissions: edit\n  coder:\n"
        in (tmp_path / "orchestrate.yaml").read_text()
    )


def test_it_can_be_printed_instead(run, tmp_path):
    code, out, err = run("import", "tasks.json", "--tag", "beta", "--output", "-")
    assert code == 0
    assert "  '7':\n    title: c\n" in out
    assert err.splitlines()[-1] == "7: was blocked: see whether what it waited for is there"
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.json"]


def test_another_file_and_another_folder_can_be_named(run, tmp_path, loaded):
    (tmp_path / "sub").mkdir()
    assert "orchestrate graph -C sub\n" in run("import", "tasks.json", "-C", "sub")[1]
    assert "orchestrate run -C other.yaml\n" in run("import", "tasks.json", "-o", "other.yaml")[1]
    assert loaded("sub/orchestrate.yaml").tasks == loaded("other.yaml").tasks


def test_a_file_that_is_there_is_replaced_only_by_force(run, tmp_path, loaded):
    (tmp_path / "orchestrate.yaml").write_text("mine")
    code, _, err = run("import", "tasks.json")
    assert (code, "exists and was left as it is" in err) == (2, True)
    assert (tmp_path / "orchestrate.yaml").read_text() == "mine"
    assert run("import", "tasks.json", "--force")[0] == 0
    assert loaded().tasks


def test_programs_get_one_json_document(run):
    code, out, _ = run("import", "tasks.json", "--json")
    assert code == 0
    assert json.loads(out) == {
        "written": "orchestrate.yaml",
        "tasks": 1,
        "agents": ["me"],
        "not_taken_over": ["took the tag 'master'; there are also 'beta' (--tag NAME)"],
        "next": ["orchestrate run"],
    }
    code, out, _ = run("import", "tasks.json", "--json")
    assert (code, "exists" in json.loads(out)["error"]) == (2, True)


def test_the_tag_task_master_works_on_is_looked_up(run, tmp_path):
    folder = tmp_path / ".taskmaster"
    (folder / "tasks").mkdir(parents=True)
    (tmp_path / "tasks.json").rename(folder / "tasks" / "tasks.json")
    for state, title in (('{"currentTag": "beta"}', "c"), ('{"currentTag": 3}', "b"), ("[]", "b"), ("{", "b")):
        (folder / "state.json").write_text(state)
        assert f"    title: {title}\n" in run("import", ".taskmaster/tasks/tasks.json", "-o", "-")[1]


def test_a_checklist_comes_from_stdin(run, monkeypatch, loaded):
    stdin = io.TextIOWrapper(io.BytesIO(b"- [ ] one\n- [ ] two\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("import", "-", "--in-order")[0] == 0
    assert [(task.task_id, task.dependencies) for task in loaded().tasks] == [("one", ()), ("two", ("one",))]
    assert loaded().project_id == "stdin"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.json"], "'none.json' cannot be read: No such file"),
        (["."], "'.' cannot be read: Is a directory"),
        (["bad\0name"], "cannot be read"),
        (["tasks.json", "--tag", "gamma"], "has no tag 'gamma'"),
        (["tasks.json", "--type", "robot"], "Invalid value for '--type'"),
        (["tasks.json", "--type", "cli"], "needs its program"),
        (["tasks.json", "--type", "script"], "needs its program"),
        (["tasks.json", "--type", "openai", "--tool", "codex"], "--tool is for an agent of type cli, not openai"),
        (["tasks.json", "--tool", "robot"], "Invalid value for '--tool'"),
        (["tasks.json", "--type", "python"], "needs a function"),
        (
            ["tasks.json", "--type", "human", "--command", "wc"],
            "--command is for agents of type script or cli, not human",
        ),
        (["tasks.json", "--type", "cli", "--command", "it's"], "cannot be split into words"),
        (["tasks.json", "--type", "cli", "--command", ""], "makes no project file that loads"),
        (["tasks.json", "--agent", "a b"], "agent name 'a b' is not usable"),
        (["tasks.json", "--output", "-", "--json"], "would both print"),
        (["tasks.json", "--output", "no/such.yaml"], "there is no folder 'no'"),
    ],
)
def test_mistakes_end_with_what_to_do_and_nothing_written(run, tmp_path, words, said):
    code, _, err = run("import", *words)
    assert (code, said in err) == (2, True), err
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not JSON"),
        (b"\x00\x01", "is a binary file"),
        (b" " * 50_000_000, "is larger than 5,000,000 bytes"),
        (b"[" * 1_000_000, "is nested too deep"),
        (b"\xff\xfe{\x00", "is UTF-16"),
        (b"", "is not JSON"),
        (
            b'{"tasks": [{"id": 1, "metadata": ' + b'{"a":' * 52 + b"1" + b"}" * 53 + b"]}",
            "nested deeper than 50 levels",
        ),
    ],
)
def test_files_that_are_no_plan_are_refused_in_few_words(run, tmp_path, content, said):
    (tmp_path / "tasks.json").write_bytes(content)
    code, out, err = run("import", "tasks.json")
    assert (code, out, said in err) == (2, "", True), err
    assert len(err.splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.json"]


def test_a_kind_of_file_that_is_added_goes_before_plans(run, monkeypatch, tmp_path):
    taken = []
    importer = importing.Importer(lambda source: source.text.startswith("package"), lambda *given: taken.append(given))
    monkeypatch.setattr(importing, "IMPORTERS", (importer, *importing.IMPORTERS))
    (tmp_path / "answer.md").write_text("package 1\n- [ ] a\n")
    assert run("import", "answer.md", "--in-order", "--json")[0] == 0
    ((source, wanted),) = taken
    assert source.name == "answer.md"
    assert wanted.plan == PlanOptions(in_order=True)
    assert wanted.agent == ImportedAgent(name="me", options={"type": "human"})


class TestMigrate:
    @pytest.fixture
    def scripts(self, tmp_path):
        folder = tmp_path / "scripts"
        folder.mkdir()
        (folder / "execute_claude.py").write_text("print(input())\n")
        (folder / "review.py").write_text("import sys\nprint(sys.argv)\n")
        return folder

    def test_a_folder_of_scripts_becomes_agents(self, run, scripts, loaded):
        code, out, err = run("migrate", "scripts")
        assert (code, out.splitlines()[0]) == (0, "wrote orchestrate.yaml: 1 task, 3 agents")
        assert err.startswith("review.py: takes its task from arguments")
        project = loaded()
        assert [agent.name for agent in project.agents] == ["claude", "review", "me"]
        assert project.scripts_dir == scripts

    def test_paths_are_relative_to_where_the_project_file_goes(self, run, scripts, tmp_path, loaded):
        (tmp_path / "deep").mkdir()
        assert run("migrate", "scripts", "-o", "deep/p.yaml")[0] == 0
        assert run("migrate", "scripts", "-C", "deep")[0] == 0
        for name in ("deep/p.yaml", "deep/orchestrate.yaml"):
            assert loaded(name).agents[1].command == ("python3", "../scripts/review.py")

    def test_it_can_be_printed_beside_a_project_that_is_there(self, run, scripts, tmp_path):
        (tmp_path / "orchestrate.yaml").write_text("mine")
        assert run("migrate", "scripts")[0] == 2
        code, out, _ = run("migrate", "scripts", "--output", "-")
        assert (code, "command: [python3, scripts/review.py]" in out) == (0, True)

    def test_a_folder_that_is_not_there_is_a_mistake(self, run):
        code, _, err = run("migrate", "none")
        assert (code, err) == (2, "error: none: is not a folder; expected the one with the scripts, such as scripts\n")

"""Plans and scripts of other systems, taken over by the real command and run."""

import json

import pytest

pytestmark = pytest.mark.acceptance

PLAN = {
    "master": {
        "tasks": [
            {"id": 1, "title": "Base", "status": "done"},
            {
                "id": 2,
                "title": "Whole",
                "dependencies": [1],
                "subtasks": [{"id": 1, "title": "p"}, {"id": 2, "title": "q"}],
            },
            {"id": 3, "title": "After", "dependencies": [2], "priority": "high"},
        ]
    }
}


def test_an_imported_plan_runs_in_its_order_and_the_whole_gets_its_parts_results(project):
    (project.folder / "tasks.json").write_text(json.dumps(PLAN))

    assert project("import", "tasks.json", "--agent", "echo", "--command", "cat").returncode == 0
    run = project("run", "--json")

    assert run.returncode == 0, run.stderr
    outputs = {name: project.json("show", name)["result"]["output"] for name in ("2.1", "2", "3")}
    assert outputs["2.1"] == "p\n\nThis is a part of task 2: Whole\n\nDone before this:\n- 1: Base"
    assert outputs["2"].startswith("Whole\n\nIts parts are tasks of their own")
    assert "Done before this:\n- 1: Base" in outputs["2"]
    assert '<result task="2.1">\np\n' in outputs["2"]
    assert '<result task="2.2">\nq\n' in outputs["2"]
    assert outputs["3"].startswith('After\n\n<result task="2">\nWhole\n')


def test_an_imported_checklist_waits_for_its_person_without_any_key(project):
    (project.folder / "TODO.md").write_text("- [ ] first\n- [x] old\n- [ ] second (after: first)\n")

    assert project("import", "TODO.md").returncode == 0
    assert project("run").returncode == 0
    assert project.statuses() == {"first": "waiting", "second": "pending"}

    project("answer", "first", "did it")
    project("run")
    assert project.statuses() == {"first": "completed", "second": "waiting"}


def test_a_plan_comes_from_a_pipe_and_the_project_goes_into_one(project):
    done = project("import", "-", "--output", "-", stdin="- [ ] first\n- [-] never\n")

    assert done.returncode == 0
    assert done.stderr == "never: left out: it is marked [-]\n"
    (project.folder / "orchestrate.yaml").write_text(done.stdout)
    assert "is fine: 1 task, 1 agent" in project("validate").stdout


def test_a_plan_that_cannot_be_carried_out_leaves_nothing(project):
    before = sorted(path.name for path in project.folder.iterdir())

    done = project("import", "-", stdin="- [ ] a (after: b)\n- [ ] b (after: a)\n")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: stdin: tasks depend on each other in a circle: a -> b -> a")
    assert sorted(path.name for path in project.folder.iterdir()) == before


def test_migrated_scripts_do_the_work(project):
    scripts = project.folder / "scripts"
    scripts.mkdir()
    (scripts / "execute_claude.py").write_text("import json, sys\nprint('claude:', json.load(sys.stdin)['prompt'])\n")
    (scripts / "shout.sh").write_text("#!/bin/sh\ncat > /dev/null; echo SHOUT\n")
    (scripts / "shout.sh").chmod(0o755)

    assert project("migrate", "scripts").returncode == 0
    file = project.folder / "orchestrate.yaml"
    agents, _, _ = file.read_text().partition("tasks:")
    file.write_text(
        f"{agents}tasks:\n  a: {{agent: shout}}\n  b: {{agent: claude, prompt: hello, use_direct_llm: false}}\n"
    )
    run = project("run")

    assert run.returncode == 0, run.stderr
    outputs = [project.json("show", name)["result"]["output"] for name in ("a", "b")]
    assert outputs == ["SHOUT", "claude: hello"]

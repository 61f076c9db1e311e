"""The project file that is written: it says what the plan said, and loads."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.importing import (
    ImportedAgent,
    ImportedProject,
    ImportedTask,
    ImportRefusedError,
    PlanOptions,
    Source,
    check_loads,
    read_plan,
    to_yaml,
    write_project,
)
from orchestration.project_file import load_project
from orchestration.task import TaskPriority

ME = ImportedAgent(name="me", options={"type": "human"})


def project_of(*tasks, **fields):
    return ImportedProject(
        **{"project_id": "plan", "origin": "a plan", "tasks": tasks, "agents": (ME,), "default_agent": "me"} | fields
    )


def test_everything_is_written_where_it_belongs(tmp_path):
    task = ImportedTask(
        task_id="1",
        title="A: title",
        description="one\n  two",
        dependencies=("2.1", "x"),
        priority=TaskPriority.HIGH,
        tags=("back",),
        metadata={"ticket": 7, "list": [1, "a"], "text": "a\nb"},
        agent="me",
        notes=("look\x1b here",),
    )
    others = (ImportedTask(task_id="2.1", title="2.1"), ImportedTask(task_id="x", title="yes"))
    project = project_of(task, *others, description="What for", told=("3: left out\nreally",))

    assert to_yaml(project) == (
        "# Made from a plan by `orchestrate`. From here on this file is yours.\n"
        "#\n"
        "# What could not be taken over:\n"
        "# - 3: left out\\nreally\n"
        "\n"
        "project: plan\n"
        "description: What for\n"
        "default_agent: me\n"
        "\n"
        "agents:\n"
        "  me:\n"
        "    type: human\n"
        "\n"
        "tasks:\n"
        "  # look\\x1b here\n"
        "  '1':\n"
        "    title: 'A: title'\n"
        "    agent: me\n"
        "    dependencies: ['2.1', x]\n"
        "    priority: high\n"
        "    tags: [back]\n"
        "    description: |-\n"
        "      one\n"
        "        two\n"
        "    metadata:\n"
        "      ticket: 7\n"
        "      list:\n"
        "        - 1\n"
        "        - a\n"
        "      text: |-\n"
        "        a\n"
        "        b\n"
        "  '2.1': {}\n"
        "  x:\n"
        "    title: yes\n"
    )
    write_project(to_yaml(project), tmp_path / "orchestrate.yaml")
    assert [each.title for each in load_project(tmp_path / "orchestrate.yaml").tasks] == ["A: title", "2.1", "yes"]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60) | st.text(
    " \t\n\r#-:|>'\"{}[]%&*!?,x1.~\x85\u2028\ufeff\x7f\x1b", max_size=30
)


@settings(deadline=None, max_examples=150)
@given(title=ANY_TEXT, description=ANY_TEXT, value=ANY_TEXT, note=ANY_TEXT)
def test_any_text_comes_back_as_it_was(title, description, value, note, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "orchestrate.yaml"
    task = ImportedTask(
        task_id="null",
        title=title or "t",
        description=description,
        metadata={"k": value, value or "e": [value]},
        notes=(note,),
    )
    write_project(to_yaml(project_of(task, told=(note,))), path)
    (loaded,) = load_project(path).tasks
    assert (loaded.task_id, loaded.title, loaded.description) == ("null", title or "t", description)
    assert loaded.metadata == {"k": value} | {value or "e": [value]}


def test_a_plan_of_a_thousand_tasks_is_written_and_loads(tmp_path):
    items = "\n".join(f"- [ ] item {n}\n  {'word ' * 50}\n  - [ ] part" for n in range(500))
    plan = read_plan(Source(name="TODO.md", text=items), PlanOptions(in_order=True))
    write_project(to_yaml(project_of(*plan.tasks)), tmp_path / "big.yaml")
    loaded = load_project(tmp_path / "big.yaml").tasks
    assert [(task.task_id, task.dependencies) for task in loaded] == [
        (task.task_id, task.dependencies) for task in plan.tasks
    ]


class TestWriting:
    GOOD = to_yaml(project_of(ImportedTask(task_id="a", title="a")))
    BAD = GOOD.replace("human", "robot")

    def test_a_file_that_is_there_is_left_alone(self, tmp_path):
        path = tmp_path / "orchestrate.yaml"
        path.write_text("mine")
        with pytest.raises(ImportRefusedError, match="exists and was left as it is"):
            write_project(self.GOOD, path)
        assert path.read_text() == "mine"

    def test_it_is_replaced_when_that_is_wanted(self, tmp_path):
        path = tmp_path / "orchestrate.yaml"
        path.write_text("mine")
        write_project(self.GOOD, path, replace=True)
        assert path.read_text() == self.GOOD

    def test_what_does_not_load_is_not_written_and_replaces_nothing(self, tmp_path):
        path = tmp_path / "orchestrate.yaml"
        path.write_text("mine")
        with pytest.raises(ImportRefusedError) as caught:
            write_project(self.BAD, path, replace=True)
        assert re.search(r"^the result:\d+:\d+: agents\.me\.type: .*'robot'", str(caught.value), re.MULTILINE)
        assert [each.name for each in tmp_path.iterdir()] == ["orchestrate.yaml"]
        assert path.read_text() == "mine"

    def test_looking_whether_it_loads_leaves_nothing(self, tmp_path):
        check_loads(self.GOOD, tmp_path)
        with pytest.raises(ImportRefusedError, match="makes no project file that loads"):
            check_loads(self.BAD, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(ImportRefusedError, match=r"there is no folder .*no'"):
            write_project(self.GOOD, tmp_path / "no" / "orchestrate.yaml")

    def test_others_may_read_the_file_as_any_other_new_one(self, tmp_path):
        (tmp_path / "usual").touch()
        write_project(self.GOOD, tmp_path / "new.yaml")
        assert (tmp_path / "new.yaml").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_word_that_begins_with_a_question_mark_stays_a_word(tmp_path):
    task = ImportedTask(task_id="t", title="t", metadata={"k": ["?0"]})
    (tmp_path / "orchestrate.yaml").write_text(to_yaml(project_of(task)), encoding="utf-8")
    assert load_project(tmp_path / "orchestrate.yaml").tasks[0].metadata == {"k": ["?0"]}

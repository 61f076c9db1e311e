"""task-master's tasks.json, and what its tasks become."""

import json

import pytest

from orchestration.importing import ImportRefusedError, PlanOptions, Source, format_of, read_plan
from orchestration.task import TaskPriority


def text_of(tasks, tag="master"):
    return json.dumps({tag: {"tasks": tasks, "metadata": {"created": "2025-06-01"}}})


def read(content, **options):
    text = content if isinstance(content, str) else text_of(content)
    return read_plan(Source(name="tasks.json", text=text), PlanOptions(**options))


def tasks_of(content, **options):
    return {task.task_id: task for task in read(content, **options).tasks}


def waits_of(content, **options):
    return {name: task.dependencies for name, task in tasks_of(content, **options).items()}


def refusal_of(content, **options):
    with pytest.raises(ImportRefusedError) as caught:
        read(content, **options)
    return str(caught.value)


class TestTags:
    TWO = json.dumps({"next": {"tasks": [{"id": 2}]}, "feature-x": {"tasks": [{"id": 3}]}})

    def test_the_main_tag_is_taken_and_the_others_are_told(self):
        both = json.dumps({"feature-x": {"tasks": [{"id": 2}]}, "master": {"tasks": [{"id": 1}]}})
        project = read(both)
        assert [task.task_id for task in project.tasks] == ["1"]
        assert project.told == ("took the tag 'master'; there are also 'feature-x' (--tag NAME)",)
        assert project.project_id == "master"

    def test_the_tag_asked_for_is_taken(self):
        project = read(self.TWO, tag="feature-x", current_tag="next")
        assert ([task.task_id for task in project.tasks], project.project_id) == (["3"], "feature-x")

    def test_the_tag_task_master_works_on_goes_before_the_main_one(self):
        both = json.dumps({"master": {"tasks": [{"id": 1}]}, "next": {"tasks": [{"id": 2}]}})
        assert list(tasks_of(both, current_tag="next")) == ["2"]
        assert list(tasks_of(both, current_tag="gone")) == ["1"]

    def test_an_only_tag_is_taken_whatever_its_name(self):
        assert list(tasks_of(text_of([{"id": 1}], tag="beta"))) == ["1"]

    def test_several_tags_without_a_main_one_are_listed(self):
        assert refusal_of(self.TWO) == ("tasks.json: has several tags: 'next', 'feature-x'; choose one with --tag NAME")

    def test_an_unknown_tag_is_refused_with_a_near_one_or_with_all(self):
        assert refusal_of(self.TWO, tag="feature-y") == (
            "tasks.json: has no tag 'feature-y'; did you mean 'feature-x'?"
        )
        assert refusal_of(self.TWO, tag="quite other") == (
            "tasks.json: has no tag 'quite other'; it has 'next', 'feature-x'"
        )

    def test_the_older_form_without_tags_is_read(self):
        old = json.dumps({"meta": {"projectName": "p"}, "tasks": [{"id": 1, "title": "a"}]})
        assert tasks_of(old)["1"].title == "a"


class TestSubtasks:
    PLAN = (
        {"id": 1, "title": "Base"},
        {
            "id": 2,
            "title": "Whole",
            "priority": "high",
            "dependencies": [1],
            "subtasks": [
                {"id": 1, "title": "first"},
                {"id": 2, "title": "second", "dependencies": [1], "priority": "low"},
                {"id": "2.3", "title": "third", "dependencies": ["2.1", "2.2"]},
            ],
        },
        {"id": 3, "title": "After", "dependencies": ["2"]},
    )

    def test_subtasks_get_their_parents_id_before_theirs(self):
        assert list(tasks_of(self.PLAN)) == ["1", "2", "2.1", "2.2", "2.3", "3"]

    def test_the_whole_waits_for_its_parts_and_a_dependent_for_the_whole(self):
        waits = waits_of(self.PLAN)
        assert waits["2"] == ("1", "2.1", "2.2", "2.3")
        assert waits["3"] == ("2",)

    def test_numbers_in_a_subtask_mean_its_siblings(self):
        assert waits_of(self.PLAN)["2.2"] == ("2.1",)
        assert waits_of(self.PLAN)["2.3"] == ("2.1", "2.2")

    def test_a_part_that_waits_for_no_other_part_waits_for_what_the_whole_waits_for(self):
        assert waits_of(self.PLAN)["2.1"] == ("1",)

    def test_what_the_whole_waits_for_reaches_the_parts_of_its_parts(self):
        deep = [{"id": 1}, {"id": 2, "dependencies": [1], "subtasks": [{"id": 1, "subtasks": [{"id": 1}]}]}]
        assert waits_of(deep) == {"1": (), "2": ("1", "2.1"), "2.1": ("1", "2.1.1"), "2.1.1": ("1",)}

    def test_a_subtask_can_wait_for_another_tasks_subtask(self):
        plan = [
            {"id": 1, "subtasks": [{"id": 1}]},
            {"id": 2, "subtasks": [{"id": 1, "dependencies": ["1.1"]}, {"id": 2, "dependencies": [1]}]},
        ]
        assert waits_of(plan)["2.1"] == ("1.1",)
        assert waits_of(plan)["2.2"] == ("2.1",)

    def test_a_number_that_is_no_sibling_means_a_task(self):
        assert waits_of([{"id": 7}, {"id": 8, "subtasks": [{"id": 1, "dependencies": [7]}]}])["8.1"] == ("7",)

    def test_a_number_written_without_quotes_keeps_its_digits(self):
        subtasks = ",".join(f'{{"id": {number}}}' for number in range(1, 11))
        text = f'{{"tasks": [{{"id": 5, "subtasks": [{subtasks}]}}, {{"id": 6, "dependencies": [5.10]}}]}}'
        assert waits_of(text)["6"] == ("5.10",)

    def test_a_part_that_names_its_whole_does_not_wait_for_it_and_that_is_told(self):
        project = read([{"id": 5, "subtasks": [{"id": 1, "dependencies": ["5"]}]}])
        assert project.tasks[1].dependencies == ()
        assert project.told == ("5.1: depended on '5', which it is part of; that dependency was dropped",)
        assert project.tasks[1].notes == ("depended on '5', which it is part of; that dependency was dropped",)

    def test_parts_inherit_the_priority_and_say_what_they_are_part_of(self):
        tasks = tasks_of(self.PLAN)
        assert (tasks["2.1"].priority, tasks["2.2"].priority) == (TaskPriority.HIGH, TaskPriority.LOW)
        assert tasks["2.1"].description == "This is a part of task 2: Whole"
        assert tasks["2"].description.startswith("Its parts are tasks of their own")

    def test_subtasks_nested_without_end_are_refused(self):
        task = {"id": 1}
        for _ in range(25):
            task = {"id": 1, "subtasks": [task]}
        assert refusal_of([task]) == "tasks.json: task '1' has subtasks nested deeper than 20"


class TestStates:
    def test_done_tasks_are_left_out_and_their_titles_told_to_those_who_waited(self):
        project = read(
            [{"id": 1, "title": "Old", "status": "done"}, {"id": 2, "dependencies": [1], "description": "New."}]
        )
        assert [task.task_id for task in project.tasks] == ["2"]
        assert project.tasks[0].dependencies == ()
        assert project.tasks[0].description == "New.\n\nDone before this:\n- 1: Old"
        assert project.told == ()

    def test_parts_are_told_what_was_done_before_the_whole(self):
        tasks = tasks_of(
            [
                {"id": 1, "title": "Old", "status": "done"},
                {"id": 2, "title": "W", "dependencies": [1], "subtasks": [{"id": 1}, {"id": 2, "dependencies": [1]}]},
                {"id": 3, "dependencies": [1], "subtasks": [{"id": 4, "dependencies": ["1"]}]},
            ]
        )
        assert tasks["2.1"].description.endswith("Done before this:\n- 1: Old")
        assert tasks["3.4"].description.count("Old") == 1
        assert "Old" not in tasks["2.2"].description

    def test_done_parts_are_named_in_the_whole(self):
        tasks = tasks_of([{"id": 1, "title": "W", "subtasks": [{"id": 1, "title": "p", "status": "completed"}]}])
        assert list(tasks) == ["1"]
        assert tasks["1"].description == "Parts that were done before:\n- 1.1: p"

    def test_a_part_is_done_with_its_whole_and_that_is_told(self):
        project = read([{"id": 1, "status": "done", "subtasks": [{"id": 1}, {"id": 2, "status": "done"}]}, {"id": 2}])
        assert [task.task_id for task in project.tasks] == ["2"]
        assert project.told == ("1.1: left out: it is open, but '1', which it is part of, is done",)

    @pytest.mark.parametrize("status", ["deferred", "cancelled"])
    def test_what_is_put_off_is_left_out_with_its_parts_and_told(self, status):
        project = read([{"id": 1, "status": status, "subtasks": [{"id": 1}]}, {"id": 2, "dependencies": [1, "1.1"]}])
        assert [task.task_id for task in project.tasks] == ["2"]
        assert project.told == (
            f"1: left out with its parts: it is {status}",
            "2: depended on '1', which is left out; it no longer waits for it",
            "2: depended on '1.1', which is left out; it no longer waits for it",
        )

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            ("in-progress", "starts from its beginning"),
            ("blocked", "was blocked"),
            ("review", "was done and in review"),
        ],
    )
    def test_what_is_under_way_is_open_and_remarked_on(self, status, said):
        project = read([{"id": 1, "status": status}])
        assert said in project.tasks[0].notes[0]
        assert said in project.told[0]

    @pytest.mark.parametrize("status", ["pending", "", None, "In_Progress"])
    def test_spellings_of_open(self, status):
        assert list(tasks_of([{"id": 1, "status": status}])) == ["1"]

    def test_an_unknown_status_is_open_and_told(self):
        project = read([{"id": 1, "status": "waiting"}])
        assert len(project.tasks) == 1
        assert project.told == ("1: has the status 'waiting', which is unknown; taken as pending",)

    def test_a_plan_that_is_done_is_refused(self):
        assert refusal_of([{"id": 1, "status": "done"}]) == (
            "tasks.json: has nothing left to do: all 1 are done or left out"
        )
        assert refusal_of([]) == "tasks.json: has no tasks"

    def test_in_order_each_waits_for_the_open_one_before_it(self):
        plan = [{"id": 1}, {"id": 2, "status": "done"}, {"id": 3, "subtasks": [{"id": 1}, {"id": 2}]}]
        assert waits_of(plan, in_order=True) == {"1": (), "3": ("1", "3.1", "3.2"), "3.1": ("1",), "3.2": ("3.1",)}


class TestFields:
    def test_every_text_about_the_work_is_in_the_description(self):
        task = tasks_of(
            [
                {
                    "id": 1,
                    "title": "Two\nlines",
                    "description": "What",
                    "details": "How  \n  indented",
                    "testStrategy": "Run it",
                    "acceptanceCriteria": ["a", "b"],
                    "relevantFiles": [{"path": "x.py", "action": "modify"}],
                }
            ]
        )["1"]
        assert task.title == "Two lines"
        assert task.description == (
            "What\n\nDetails:\nHow\n  indented\n\nHow to test it:\nRun it\n\nAcceptance criteria:\n- a\n- b\n\n"
            "Relevant files:\n- path: x.py; action: modify"
        )

    @pytest.mark.parametrize("word", ["low", "medium", "high", "critical", "High"])
    def test_priorities_are_the_same_here(self, word):
        assert tasks_of([{"id": 1, "priority": word}])["1"].priority is TaskPriority[word.upper()]

    def test_an_unknown_priority_is_medium_and_told(self):
        project = read([{"id": 1, "priority": "urgent"}])
        assert project.tasks[0].priority is TaskPriority.MEDIUM
        assert project.told == ("1: has the priority 'urgent', which is unknown; taken as medium",)

    def test_metadata_is_kept_but_for_what_would_change_how_the_task_is_carried_out(self):
        project = read(
            [{"id": 1, "metadata": {"ticket": 42, "share": 0.5, "deep": [{"a": None, "t": True}], "model": "gpt-9"}}]
        )
        assert project.tasks[0].metadata == {"ticket": 42, "share": 0.5, "deep": [{"a": None, "t": True}]}
        assert project.told == ("1: metadata 'model' has a meaning of its own here; left out",)

    def test_metadata_that_is_no_mapping_is_told(self):
        project = read([{"id": 1, "metadata": [1]}])
        assert project.tasks[0].metadata == {}
        assert project.told == ("1: its metadata is a list, not values by name; left out",)

    def test_fields_that_have_no_place_are_told_once_for_all_tasks(self):
        project = read(
            [
                {"id": 1, "complexity": 3, "createdAt": "x"},
                {"id": 2, "complexity": 5, "assignee": "ann", "effort": None},
            ]
        )
        assert project.told == (
            "fields without a place here: assignee (1 times), complexity (2 times), effort (1 times)",
        )

    def test_half_characters_and_nuls_do_not_reach_the_project(self):
        task = tasks_of('{"tasks": [{"id": 1, "title": "a\\ud83db\\u0000", "description": "\\ud83d\\ude00"}]}')["1"]
        assert (task.title, task.description) == ("a\ufffdb", "😀")


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "is not JSON: line 1, column 2"),
            ("[1]", "holds a list; expected task-master's"),
            ('{"master": {"tasks": 3}}', "holds no list of tasks; expected task-master's"),
            ('{"tasks": [{"id": NaN}]}', "NaN is not a number in JSON"),
            ('{"tasks": [{"id": 1' + "0" * 5000 + "}]}", "is not JSON that can be read"),
            ("null", "holds nothing; expected task-master's"),
            ("[" * 200_000, "is nested too deep to be a plan"),
            ('{"tasks": ' + "[" * 100 + "]" * 100 + "}", "is nested too deep to be a plan"),
        ],
    )
    def test_what_is_no_plan_is_refused_in_one_line(self, text, said):
        message = refusal_of(text)
        assert said in message
        assert "\n" not in message

    def test_tasks_without_a_usable_id_are_all_named(self):
        message = refusal_of(["text", {"title": "no id"}, {"id": True}, {"id": 1, "subtasks": [{"id": None}]}])
        assert message.splitlines() == [
            "tasks.json: task 1 of the list has no id that is a number or a text: 'text'",
            "tasks.json: task 2 of the list has no id that is a number or a text: a mapping",
            "tasks.json: task 3 of the list has no id that is a number or a text: a mapping",
            "tasks.json: subtask 1 of task '1' has no id that is a number or a text: a mapping",
        ]

    def test_ids_that_cannot_be_used_and_ids_that_repeat(self):
        assert "task id 'a b' is not usable" in refusal_of([{"id": "a b"}])
        assert refusal_of([{"id": 1}, {"id": "1"}]) == (
            "tasks.json: two tasks have the id '1'; give one of them another id"
        )

    def test_unknown_dependencies_are_named_with_a_near_id(self):
        message = refusal_of([{"id": "alpha"}, {"id": 2, "dependencies": ["alpah", 99]}])
        assert message.splitlines() == [
            "tasks.json: task '2' depends on 'alpah', which is not in the plan; did you mean 'alpha'?",
            "tasks.json: task '2' depends on '99', which is not in the plan; remove it or add the task",
        ]

    def test_unknown_dependencies_of_what_is_done_do_not_matter(self):
        assert list(tasks_of([{"id": 1, "status": "done", "dependencies": [99]}, {"id": 2}])) == ["2"]

    def test_fields_of_the_wrong_kind(self):
        assert refusal_of([{"id": 1, "dependencies": "2"}]).endswith("dependencies is '2'; expected a list")
        assert refusal_of([{"id": 1, "dependencies": [None]}]).startswith("tasks.json: task '1' depends on nothing")

    def test_long_lists_of_mistakes_are_cut(self):
        lines = refusal_of([{"id": number, "dependencies": ["no"]} for number in range(50)]).splitlines()
        assert (len(lines), lines[-1]) == (21, "tasks.json: has more mistakes than these 20; correct them first")

    def test_a_circle_is_spelled_out(self):
        message = refusal_of([{"id": 1, "dependencies": [2]}, {"id": 2, "dependencies": [1]}])
        assert "in a circle: 1 -> 2 -> 1" in message
        assert "its parts" not in message

    def test_a_circle_through_a_whole_says_why_it_is_one(self):
        message = refusal_of(
            [{"id": 1, "dependencies": ["2.1"]}, {"id": 2, "dependencies": [1], "subtasks": [{"id": 1}]}]
        )
        assert "in a circle" in message
        assert message.endswith("; here a task waits for its parts, and a part for what the whole waits for")

    def test_a_file_of_no_known_format_is_refused_with_those_that_are(self):
        with pytest.raises(
            ImportRefusedError, match=r"is of no known format; expected task-master's tasks\.json or a M"
        ):
            read_plan(Source(name="notes.txt", text="just words"), PlanOptions())
        assert format_of(Source(name="x.json", text="no JSON at all")).name == "task-master's tasks.json"


class TestSource:
    def test_text_is_decoded_with_or_without_a_mark_at_its_beginning(self):
        assert Source.decode("a", "\ufeff{}".encode()).text == "{}"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"x" * 5_000_001, "is larger than 5,000,000 bytes"),
            (b"{\n\xff}", "line 2 is not UTF-8"),
            (b"PK\0\3", "is a binary file"),
            ("{}".encode("utf-16"), "is UTF-16"),
        ],
    )
    def test_what_is_no_text_is_refused(self, content, said):
        with pytest.raises(ImportRefusedError, match=f"^a: {said}"):
            Source.decode("a", content)

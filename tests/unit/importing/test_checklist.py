"""Markdown checklists, and what their items become."""

import textwrap

import pytest

from orchestration.importing import ImportRefusedError, PlanOptions, Source, format_of, read_plan


def read(text, *, name="TODO.md", **options):
    return read_plan(Source(name=name, text=textwrap.dedent(text)), PlanOptions(**options))


def tasks_of(text, **options):
    return {task.task_id: task for task in read(text, **options).tasks}


def waits_of(text, **options):
    return {name: task.dependencies for name, task in tasks_of(text, **options).items()}


def refusal_of(text, **options):
    with pytest.raises(ImportRefusedError) as caught:
        read(text, **options)
    return str(caught.value)


class TestItems:
    def test_open_items_become_tasks_and_done_ones_do_not(self):
        text = """\
            - [ ] Write it
            * [x] Think
            + [X] Ask
            1. [ ] Ship it
            2) [ ] Tell them
            """
        assert [task.title for task in read(text).tasks] == ["Write it", "Ship it", "Tell them"]

    def test_ids_are_made_of_the_words(self):
        long = "A very long item that goes on and on until nobody listens"
        text = f"- [ ] Write the *parser*!\n- [ ] Größe prüfen\n- [ ] {long}\n- [ ] {'x' * 60}\n- [ ] ...\n"
        assert list(tasks_of(text)) == [
            "write-the-parser",
            "größe-prüfen",
            "a-very-long-item-that-goes-on-and-on",
            "x" * 40,
            "task-5",
        ]

    def test_the_same_words_get_numbers(self):
        assert list(tasks_of("- [ ] a\n- [ ] a\n- [ ] a-2\n- [ ] A\n")) == ["a", "a-2", "a-2-2", "a-3"]

    def test_items_below_an_item_are_its_parts(self):
        text = """\
            - [ ] Release
                - [x] Notes
                - [ ] Build
                  - [ ] Linux
              - [ ] Upload
            - [ ] Rest
            """
        assert waits_of(text) == {
            "release": ("release.2", "release.3"),
            "release.2": ("release.2.1",),
            "release.2.1": (),
            "release.3": (),
            "rest": (),
        }

    def test_tabs_count_as_four_spaces(self):
        assert list(tasks_of("- [ ] a\n\t- [ ] b\n")) == ["a", "a.1"]

    def test_items_left_out_by_their_mark_are_told(self):
        project = read("- [ ] a\n- [-] b\n- [~] c\n- [?] d\n")
        assert [task.task_id for task in project.tasks] == ["a", "d"]
        assert project.told == (
            "line 4: the mark [?] is unknown; taken as [ ]",
            "b: left out: it is marked [-]",
            "c: left out: it is marked [~]",
        )

    def test_items_that_say_nothing_are_told(self):
        assert read("- [ ] a\n- [ ]\n").told == ("line 2: this item says nothing; left out",)

    @pytest.mark.parametrize("line", ["- [link](x)", "- [ ]text", "[ ] text", "- [  ] text", "text - [ ] text"])
    def test_what_only_looks_like_an_item_is_none(self, line):
        assert len(read(f"- [ ] a\n{line}\n").tasks) == 1

    def test_windows_line_ends_are_line_ends(self):
        assert tasks_of("- [ ] a\r\n  more\r\n- [ ] b\r\n")["a"].description == "more"


class TestDescriptions:
    def test_indented_text_below_an_item_describes_it(self):
        text = """\
            - [ ] a
              first

                second
              - detail
              - [ ] part
                of the part
              of the whole
            not of anything
              nor this
            - [ ] b
            """
        tasks = tasks_of(text)
        assert tasks["a"].description.startswith("first\n\n  second\n- detail\nof the whole\n\nIts parts")
        assert tasks["a.1"].description == "of the part\n\nThis is a part of task a: a"
        assert tasks["b"].description == ""

    def test_code_is_part_of_the_description_and_never_read(self):
        text = """\
            - [ ] a
              ````sh
              - [ ] b
              ```
              # c
              ````
            ~~~
            - [ ] d
            ~~~
            - [ ] e
            """
        tasks = tasks_of(text)
        assert list(tasks) == ["a", "e"]
        assert tasks["a"].description == "````sh\n- [ ] b\n```\n# c\n````"

    def test_a_fence_that_is_never_closed_is_told(self):
        project = read("- [ ] a\n```\n- [ ] b\n")
        assert len(project.tasks) == 1
        assert project.told == ("line 2: this code fence is never closed; nothing after it was read",)

    def test_comments_are_not_read(self):
        assert list(tasks_of("<!-- - [ ] x -->\n- [ ] a\n<!--\n- [ ] b\n-->\n- [ ] c\n")) == ["a", "c"]

    def test_headings_are_tags_and_the_first_names_the_plan(self):
        text = """\
            # The plan
            - [ ] a
            ## Back end ##
            - [ ] b
            # C#
            - [ ] c
            ### ...
            - [ ] d
            """
        project = read(text)
        assert project.description == "The plan"
        assert [task.tags for task in project.tasks] == [(), ("back-end",), ("c",), ()]


class TestIdsAndDependencies:
    @pytest.mark.parametrize(
        ("text", "task_id", "title"),
        [
            ("Write it {#write}", "write", "Write it"),
            ("T001 Set up", "T001", "Set up"),
            ("T001: Set up", "T001", "Set up"),
            ("**T001** Set up", "T001", "Set up"),
            ("**DOC-12**: Set up", "DOC-12", "Set up"),
            ("DOC-12: Set up", "DOC-12", "Set up"),
            ("#7 Set up", "7", "Set up"),
            ("3. Set up", "3", "Set up"),
            ("3.1. Set up", "3.1", "Set up"),
            ("2.3 release notes", "2.3", "2.3 release notes"),
            ("GPT-4 support", "gpt-4-support", "GPT-4 support"),
            ("3 more tests", "3-more-tests", "3 more tests"),
            ("{#only}", "only", "only"),
        ],
    )
    def test_notations_of_ids(self, text, task_id, title):
        (task,) = read(f"- [ ] {text}\n").tasks
        assert (task.task_id, task.title) == (task_id, title)

    @pytest.mark.parametrize(
        "text",
        [
            "c (after: a, T002)",
            "c (depends on: a T002)",
            "c (Needs: #a, #T002)",
            "c (after: a), depends on T002",
            "c, depends on #a and T002.",
            "c (depends on #a, T002)",
            "c Depends on: #a, and T002",
        ],
    )
    def test_notations_of_dependencies(self, text):
        task = tasks_of(f"- [ ] a\n- [ ] T002 b\n- [ ] {text}\n")["c"]
        assert (task.title, task.dependencies) == ("c", ("a", "T002"))

    @pytest.mark.parametrize("text", ["walk (after lunch)", "it depends on the weather", "depends on #a, says b"])
    def test_prose_is_no_dependency(self, text):
        task = read(f"- [ ] a\n- [ ] {text}\n").tasks[1]
        assert (task.title, task.dependencies) == (text, ())

    def test_order_means_nothing_unless_asked_for(self):
        text = "- [ ] a\n- [x] b\n- [ ] c\n  - [ ] d\n  - [ ] e\n"
        assert waits_of(text) == {"a": (), "c": ("c.1", "c.2"), "c.1": (), "c.2": ()}
        assert waits_of(text, in_order=True) == {"a": (), "c": ("a", "c.1", "c.2"), "c.1": ("a",), "c.2": ("c.1",)}

    def test_a_plan_of_spec_kit_reads_as_it_is_meant(self):
        text = """\
            # Tasks: Photo albums
            ## Phase 1: Setup
            - [x] T001 Create project structure
            - [ ] T002 [P] Configure linting (depends on T001)
            ## Dependencies
            - Setup blocks everything
            """
        (task,) = read(text).tasks
        assert (task.title, task.tags) == ("[P] Configure linting", ("phase-1-setup",))
        assert task.description == "Done before this:\n- T001: Create project structure"


class TestMistakes:
    def test_a_file_without_items(self):
        assert refusal_of("# Nothing\n") == (
            "TODO.md: has no items of a checklist; expected lines such as '- [ ] text'"
        )

    def test_a_tag_is_refused(self):
        assert "which has no tags" in refusal_of("- [ ] a\n", tag="x")

    def test_unknown_and_repeated_ids(self):
        assert "'a' depends on 'c', which is not in the plan" in refusal_of("- [ ] a (after: c)\n- [ ] b\n")
        assert "two tasks have the id 'a'" in refusal_of("- [ ] x {#a}\n- [ ] y {#a}\n")
        assert "task id 'a/b' is not usable" in refusal_of("- [ ] x {#a/b}\n")

    def test_a_circle(self):
        assert "a -> b -> a" in refusal_of("- [ ] a (after: b)\n- [ ] b (after: a)\n")

    def test_a_circle_that_the_order_closes_says_so(self):
        message = refusal_of("- [ ] a (after: b)\n- [ ] b\n", in_order=True)
        assert "a -> b -> a" in message
        assert "here each task waits for the one before it, a task waits for its parts" in message

    def test_items_nested_without_end(self):
        text = "\n".join(f"{' ' * depth}- [ ] {depth}" for depth in range(30))
        assert refusal_of(text) == "TODO.md: line 21 is nested deeper than 20 items"

    def test_a_checklist_is_known_by_its_lines_whatever_its_name(self):
        assert format_of(Source(name="stdin", text="plan\n- [ ] a\n")).name == "a Markdown checklist"
        assert format_of(Source(name="stdin", text="plan\n- a\n")) is None

    @pytest.mark.parametrize(
        "line",
        [" " * 100_000 + "x", "(after:" * 30_000, ",;(" * 60_000, "depends on #1 " * 20_000 + "x", "# " * 100_000],
    )
    def test_long_lines_take_no_longer_than_they_are(self, line):
        assert len(read(f"- [ ] a{line}\n# {line}\n- [ ] b\n").tasks) == 2

    def test_ten_thousand_equal_items_are_read(self):
        assert len(read("- [ ] again\n" * 10_000).tasks) == 10_000

    def test_more_items_than_a_project_can_have_are_refused(self):
        assert refusal_of("- [ ] again\n" * 10_001) == (
            "TODO.md: has 10,001 items, expected at most 10,000; import it in parts"
        )

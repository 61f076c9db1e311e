"""A question goes out as a file and comes back with its answer, whatever editors do to the file."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration import events as ev
from orchestration.fold import fold
from orchestration.package import PackageError, is_package, read_package, to_package
from orchestration.task import AgentTask, ExecutionResult

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}}


def waiting(*, need="answer", output="# Find a headline\n\nOne line.\n", metadata=None, **fields):
    fields = {"title": "Find a headline", **fields}
    result = ExecutionResult("ask", output=output, metadata=metadata or {})
    facts = [
        ev.TaskAdded(at=AT, task=AgentTask("ask", **fields)),
        ev.TaskStarted(at=AT, task_id="ask", attempt=2),
        ev.TaskWaiting(at=AT, task_id="ask", need=need, result=result),
    ]
    return fold(facts).tasks["ask"]


def package(known, **options):
    return to_package(known, project="trial", **options)


def filled(text, answer):
    """Write the answer where it belongs, as a person would: below the mark, of which a question may quote others."""
    lines = text.split("\n")
    begin = max(index for index, line in enumerate(lines) if line.endswith("from the next line on -->"))
    return "\n".join([*lines[: begin + 1], answer, *lines[begin + 1 :]])


class TestGoingOut:
    def test_it_holds_what_is_asked_and_how_to_take_it_back(self):
        text = package(waiting(), files=["a/b.md"], answer_command="orchestrate import ask.md")
        assert is_package(text)
        assert "One line." in text
        assert "- `a/b.md`" in text
        assert "    orchestrate import ask.md" in text

    def test_how_to_answer_in_a_terminal_is_left_out(self):
        asked = "# Find\n\nOne line.\n\n## How to answer\n\n    orchestrate answer ask\n"
        assert "orchestrate answer" not in package(waiting(output=asked))

    def test_a_draft_stands_where_the_answer_belongs_and_nowhere_else(self):
        text = package(waiting(need="approval", output="Pears!", metadata={"asks": "Is it short?"}, description="D."))
        assert text.count("Pears!") == 1
        assert "Is it short?" in text
        assert "D." in text

    def test_an_answer_in_json_has_a_block_and_a_draft_its_schema(self):
        assert "```json\n\n```" in package(waiting(output_schema=SCHEMA))
        draft = package(waiting(need="approval", output='{"ok": true}', output_schema=SCHEMA))
        assert '```json\n{"ok": true}\n```' in draft
        assert '"boolean"' in draft

    def test_a_task_without_a_result_is_still_a_package(self):
        known = fold([ev.TaskAdded(at=AT, task=AgentTask("ask", "T")), ev.TaskStarted(at=AT, task_id="ask", attempt=1)])
        assert not read_package(package(known.tasks["ask"])).answer


class TestComingBack:
    def test_it_says_which_attempt_of_which_task_it_answers(self):
        back = read_package(filled(package(waiting()), "Short and done"))
        assert (back.project, back.task_id, back.attempt, back.answer) == ("trial", "ask", 2, "Short and done")

    @pytest.mark.parametrize("answer", ["", "\n\n", "   \n\t"])
    def test_what_is_not_filled_in_is_told_apart(self, answer):
        assert not read_package(filled(package(waiting()), answer)).answer

    def test_an_empty_block_is_not_filled_in(self):
        assert not read_package(package(waiting(output_schema=SCHEMA))).answer

    def test_a_block_that_is_filled_in_is_an_answer(self):
        text = package(waiting(output_schema=SCHEMA)).replace("```json\n\n```", '```json\n{"ok": true}\n```')
        assert read_package(text).answer == '```json\n{"ok": true}\n```'

    @pytest.mark.parametrize("schema", [None, SCHEMA])
    @pytest.mark.parametrize("draft", ["a draft", "two  \n\nlines\n", '{"ok": true}'])
    def test_a_draft_that_was_not_changed_is_no_answer(self, schema, draft):
        back = read_package(package(waiting(need="approval", output=draft, output_schema=schema)))
        assert (back.answer, back.is_unchanged_draft) == ("", True)

    def test_a_draft_that_was_changed_is_one(self):
        back = read_package(package(waiting(need="approval", output="a draft")).replace("a draft", "a better draft"))
        assert (back.answer, back.is_unchanged_draft) == ("a better draft", False)

    def test_a_draft_that_was_emptied_is_no_answer(self):
        back = read_package(package(waiting(need="approval", output="a draft")).replace("a draft", ""))
        assert (back.answer, back.is_unchanged_draft) == ("", False)

    def test_editors_may_change_line_ends_add_a_mark_of_bytes_and_cut_blanks(self):
        text = filled(package(waiting(need="approval", output="a draft  \nof two lines")), "")
        windows = "\ufeff" + "\r\n".join(line.rstrip() for line in text.split("\n"))
        assert is_package(windows)
        assert read_package(windows).is_unchanged_draft

    def test_blanks_at_the_end_of_an_answers_lines_are_kept(self):
        assert (
            read_package(filled(package(waiting()), "hard  \nbreak\x0cand page")).answer == "hard  \nbreak\x0cand page"
        )

    def test_a_package_within_a_question_or_an_answer_is_only_text(self):
        inner = filled(package(waiting()), "inner answer")
        outer = filled(package(waiting(output=inner)), f"I quote:\n{inner}")
        back = read_package(outer)
        assert back.answer.startswith("I quote:")
        assert back.answer.endswith(inner.rstrip("\n"))

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "its first line is ''"),
            ("# a checklist", "expected the one `orchestrate export` writes"),
            ("<!-- orchestrate package: {} -->", "its first line is"),
            ('<!-- orchestrate package: {"project": 1} -->', "its first line is"),
            ("<!-- orchestrate package: {", "its first line is"),
        ],
    )
    def test_what_is_no_package_is_refused(self, text, says):
        with pytest.raises(PackageError, match=says):
            read_package(text)

    @pytest.mark.parametrize("mark", ["from the next line on", "up to the line above"])
    def test_an_answer_without_its_marks_is_refused(self, mark):
        text = "\n".join(line for line in package(waiting()).split("\n") if mark not in line)
        with pytest.raises(PackageError, match="the marks around the answer are gone"):
            read_package(text)

    @given(
        question=st.text(max_size=200),
        answer=st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=200),
    )
    def test_any_answer_to_any_question_comes_back_as_it_was_written(self, question, answer):
        back = read_package(filled(package(waiting(output=question)), answer))
        expected = answer.strip("\n")
        is_empty = not expected.strip() or expected.strip().startswith("```")
        assert back.answer == expected or is_empty

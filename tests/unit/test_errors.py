import inspect

import pytest

from orchestration import errors
from orchestration.errors import CycleError, ProjectFileError, UnknownTaskError

PUBLIC = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


def test_every_error_belongs_to_one_tree():
    assert all(issubclass(error, errors.OrchestrationError) for error in PUBLIC)


def test_the_drawn_tree_is_the_real_one():
    drawn, path = {}, []
    for line in errors.__doc__.splitlines()[2:]:
        indent, name = len(line) - len(line.lstrip("│├└─ ")), line.lstrip("│├└─ ").split()[:1]
        if name and name[0] in errors.__all__:
            path[indent // 4 :] = [name[0]]
            drawn[name[0]] = path[-2] if len(path) > 1 else "Exception"
    assert drawn == {error.__name__: error.__base__.__name__ for error in PUBLIC}


@pytest.mark.parametrize("error", PUBLIC, ids=lambda error: error.__name__)
def test_every_error_says_what_it_means(error):
    assert inspect.getdoc(error)


@pytest.mark.parametrize("name", ["InvalidTaskError", "UnknownTaskError", "UnknownAgentError", "DuplicateError"])
def test_a_caller_s_mistake_is_a_value_error(name):
    assert issubclass(getattr(errors, name), ValueError)


def test_an_unknown_task_lists_the_known_ones_and_cuts_a_long_list():
    assert str(UnknownTaskError("x", ["b", "a"])) == "unknown task 'x'; known tasks: 'a', 'b'"
    assert str(UnknownTaskError("x")) == "unknown task 'x'; there are no tasks yet"
    assert str(UnknownTaskError("x", (f"t{n:02}" for n in range(25)))).endswith("'t19', and 5 more")


def test_a_cycle_is_spelled_out_with_the_way_to_read_it():
    error = CycleError(["a", "b", "a"])
    assert error.cycle == ("a", "b", "a")
    assert "a -> b -> a (read '->' as 'depends on')" in str(error)


def test_a_project_file_error_holds_all_mistakes_a_line_each():
    assert str(ProjectFileError(["one", "two"])) == "one\ntwo"

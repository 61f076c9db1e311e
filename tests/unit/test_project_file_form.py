"""Files that are no project file at all: each ends with one clear line."""

import os
import time

import pytest

from orchestration.errors import ProjectFileError
from orchestration.project_file import load_project
from orchestration.project_file.document import MAX_BYTES, parse
from orchestration.project_file.nodes import MAX_DEPTH, MAX_VALUES

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "f.yaml: is empty; expected at least the keys 'agents' and 'tasks'"),
        (b"# only\n# comments\n", "f.yaml: is empty; expected at least the keys 'agents' and 'tasks'"),
        (b"---\n", "f.yaml: is empty; expected at least the keys 'agents' and 'tasks'"),
        (b"~\n", "f.yaml: is empty; expected at least the keys 'agents' and 'tasks'"),
        (b"\x7fELF\x00\x01", "f.yaml: is a binary file; expected YAML, which is text"),
        ("a: 1".encode("utf-16"), "f.yaml: is UTF-16; save it as UTF-8"),
        (b"a: 1\nb: caf\xe9\n", "f.yaml:2:7: byte 0xe9 is not UTF-8; save the file as UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), "is larger than 5,000,000 bytes; keep long texts in files of their own (prompt_file)"),
        (b"a: \x07", "f.yaml:1:4: a control character; expected text"),
        (b"a:\n\tb: 1\n", "f.yaml:2:1: a tab; YAML is indented with spaces only"),
        (b"a: 1\nb: 'x\nc: 2\n", "f.yaml:2:4: a quote that is opened here is never closed"),
        (b"a: [1,\nb: 2\n", "f.yaml:3:1: a '[' or '{' that is opened before is not closed here"),
        (b"a: [1, ", "f.yaml:1:8: the file ends before a '[' or '{' is closed"),
        (b"a: 1\n  b: 2\n", "f.yaml:2:4: a ':' where no key can be; indent the line like its neighbours"),
        (b"a: b: c\n", "put a value that has ': ' in it in quotes"),
        (b"a: 1\nb\nc: 2\n", "f.yaml:3:1: a line that is neither 'key: value' nor part of the value above"),
        (b"a: 'x' y\n", "f.yaml:1:8: a line that does not fit the lines above"),
        (b"a: {{ x }} y\n", "a value that begins with '{{' must be in quotes"),
        (b"a: @x\n", "f.yaml:1:4: found character '@' that cannot start any token; put the value in quotes"),
        (b"--- \na: 1\n---\nb: 2\n", "f.yaml:3:1: a second YAML document begins; a project is one document"),
        (b"a: *b\n", "f.yaml:1:4: alias '*b' has no anchor '&b' before it"),
        ("a: *\u200b".encode(), "f.yaml:1:4: alias '*\\u200b' has no anchor '&\\u200b' before it"),
        (b"a: &b [1, {c: *b}]\n", "f.yaml:1:15: alias '*b' stands inside of its own anchor, so it would never end"),
        (b'a: 1\nb: "\\UFFFFFFFF"\n', "f.yaml:2:1: a character escape that names no character"),
        (b"%FOO\n%YAML 9.9\n---\na: 1\n", "f.yaml:2:1: not YAML: found incompatible YAML document"),
        (b"[" * 100_000, f"f.yaml:1:{MAX_DEPTH + 1}: values are nested deeper than {MAX_DEPTH} levels"),
        (b"- " * 100_000, f"values are nested deeper than {MAX_DEPTH} levels"),
        (BOMB.encode(), f"f.yaml:5:4: the file has more than {MAX_VALUES:,} values once its aliases are followed"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else "",
)
def test_what_cannot_be_read_is_told_in_one_line(content, message):
    with pytest.raises(ProjectFileError) as caught:
        parse(content, "f.yaml")
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]
    assert message in caught.value.problems[0]


def test_aliases_that_lead_deeper_and_deeper_are_refused():
    half = MAX_DEPTH // 2 + 1
    content = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}\n"
    with pytest.raises(ProjectFileError, match="nested deeper than 50 levels"):
        parse(content.encode(), "f.yaml")


def test_the_deepest_file_that_is_allowed_is_read():
    content = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert str(parse(content.encode(), "f.yaml").value) == content


def test_a_bomb_is_refused_without_being_expanded():
    before = time.process_time()
    with pytest.raises(ProjectFileError):
        parse(BOMB.encode(), "f.yaml")
    assert time.process_time() - before < 2  # expanded, it has a billion values


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ("a: !!python/object:os.system {b: 1}", ["1:4: a: tag '!!python/object:os.system' is not allowed"]),
        ("a: !!int '3'\nb: !mine x", ["1:4: a: tag '!!int' is not allowed", "2:4: b: tag '!mine' is not allowed"]),
        ("!x a: 1", ["1:1: tag '!x' is not allowed"]),
        ("a: 1\nb: 2\na: 3\na: 4", ["3:1: a: 'a' is here twice, first in line 1", "4:1: a: 'a' is here twice"]),
        ("x: {1: a, '1': b}", ["1:11: x['1']: '1' is here twice, first in line 1; keep one"]),
        ("? [a]\n: 1", ["1:3: a list cannot be a key"]),
        ("a: {{ vars.x }}", ["1:5: a: a mapping cannot be a key; a value that begins with '{{' or '[' must be in"]),
        ("<<: {a: 1}", ["1:1: '<<' is not part of YAML 1.2; options that tasks share belong to their agent"]),
        (": 1", ["1:1: a key is empty; expected a name before the ':'"]),
        ("a: [.inf, -.INF, .nan]", ["1:5: a[0]: '.inf' is not a finite", "1:11: a[1]: '-.INF'", "1:18: a[2]: '.nan'"]),
        ("a: 1e999", ["1:4: a: '1e999' is not a finite number"]),
        ("a: 9223372036854775808", ["1:4: a: '9223372036854775808' is a number beyond 64 bits; put it in quotes"]),
        (f"a: {'9' * 5000}", [f"1:4: a: '{'9' * 57}'... is a number beyond 64 bits"]),
        ('a: "\\ud83d"', ["1:4: a: half of a character (a lone surrogate escape)"]),
        ('"\\ud83d": 1', ["1:1: half of a character"]),
        ('a: "x\\0"', ["1:4: a: text with a NUL character, which no file name, command or prompt can hold"]),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_yaml_allows_and_we_do_not_is_told_with_its_place(content, faults):
    document = parse(content.encode(), "f.yaml")
    told = [document.describe(fault) for fault in document.faults]
    assert len(told) == len(faults)
    for line, expected in zip(told, faults, strict=True):
        assert line.startswith(f"f.yaml:{expected}")


def test_a_fault_that_aliases_repeat_is_told_once():
    document = parse(b"a: &a [!x 1]\nb: *a\nc: *a\n", "f.yaml")
    assert len(document.faults) == 1
    assert document.value == {"a": [None], "b": [None], "c": [None]}


def test_a_number_beyond_64_bits_is_fine_as_a_key_and_as_text():
    assert parse(b"99999999999999999999: '99999999999999999999'", "f.yaml").value == {
        "99999999999999999999": "99999999999999999999"
    }


def test_a_missing_file_a_folder_and_a_pipe_are_told_apart(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "missing.yaml", "no such file; expected a project file such as orchestrate.yaml"),
        (tmp_path, "is a folder; expected a project file such as orchestrate.yaml"),
        (tmp_path / "pipe", "is not a regular file; expected a project file such as orchestrate.yaml"),
    ):
        with pytest.raises(ProjectFileError) as caught:
            load_project(path)
        assert caught.value.problems == (f"{path}: {message}",)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "file/below"])
def test_a_path_that_no_file_can_have_is_told(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ProjectFileError, match=r"cannot be read|no such file"):
        load_project(tmp_path / name)


@pytest.mark.parametrize("content", ["[a]", "just text", "12"])
def test_a_file_that_is_no_mapping_says_what_was_expected(tmp_path, content):
    path = tmp_path / "orchestrate.yaml"
    path.write_text(content)
    with pytest.raises(ProjectFileError) as caught:
        load_project(path)
    (problem,) = caught.value.problems
    assert problem.endswith("is not a mapping; expected a mapping with the keys 'agents' and 'tasks'")

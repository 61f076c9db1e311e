"""Checks against brute force: none passes whose condition is false, none raises for what a worker may have made."""

import asyncio
import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.task_options import Check
from orchestration.verification import Claim, Verdict, evidence_text, verify
from orchestration.verification.command import _evidence, _Heard
from orchestration.verification.excerpt import GAP, excerpt, readable
from orchestration.verification.verdict import verdict_on

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WITH_FILES = settings(deadline=None)
WITH_PROCESSES = settings(deadline=None, max_examples=30)

any_text = st.text(st.characters())  # with NULs and lone surrogates
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


def verdicts_on(*checks, output="", cwd=None, score=1.0, **fields):
    async def judge(_check, _prompt, _schema):
        return {"score": score, "reason": output}

    claim = Claim(output=output, since=LONG_AGO, **fields)
    return asyncio.run(verify(checks, claim, cwd=cwd, env={}, owner="", judge=judge, report=lambda _: None))


# --- schemas ----------------------------------------------------------------------------------------------------------

TYPES = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
schemas = st.recursive(
    st.sampled_from(sorted(TYPES)).map(lambda name: {"type": name})
    | st.sampled_from(["", "a", "b"]).map(lambda value: {"const": value}),
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda field: {"type": "object", "properties": {"a": field}, "required": ["a"]}, inner)
        | st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner)
    ),
    max_leaves=4,
)


def meets(value, schema):
    if "anyOf" in schema:
        return any(meets(value, option) for option in schema["anyOf"])
    if "const" in schema:
        return isinstance(value, str) and value == schema["const"]
    if not TYPES[schema["type"]](value):
        return False
    if "items" in schema:
        return all(meets(item, schema["items"]) for item in value)
    return all(name in value and meets(value[name], field) for name, field in schema.get("properties", {}).items())


@settings(deadline=None)
@given(schemas, json_values, st.booleans())
def test_a_schema_is_met_by_exactly_the_data_that_meet_it(schema, data, is_read):
    claim = {"output": json.dumps(data)} if is_read else {"data": data, "output": json.dumps(data)}

    (verdict,) = verdicts_on(Check(schema=schema), **claim)

    assert verdict.is_passed is meets(data, schema)


# --- patterns ---------------------------------------------------------------------------------------------------------


plain = st.lists(st.sampled_from(["a", "b", ".", "^", "$", "|", r"\b", "[ab]"]), min_size=1, max_size=5)
repeating = st.lists(
    st.sampled_from(["a", "b*", "a+?", ".{2}", "$", "(a|b)?", "(?!a)", "(?<=b)"]), min_size=1, max_size=5
)


@WITH_PROCESSES
@given(st.tuples(plain, repeating).map(lambda both: tuple(map("".join, both))), st.text("ab\n", max_size=12))
def test_a_pattern_is_found_exactly_where_it_is(patterns, text):
    verdicts = verdicts_on(*(Check(matches=pattern) for pattern in patterns), output=text)

    assert [verdict.is_passed for verdict in verdicts] == [bool(re.search(pattern, text)) for pattern in patterns]


# --- files ------------------------------------------------------------------------------------------------------------

parts = st.sampled_from(["a", "b", "ab", "c.md"])
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
globs = st.lists(st.sampled_from(["a", "b", "ab", "c.md", "*", "**", "?", "a*", "*.md"]), min_size=1, max_size=3)


def is_within(path, glob):
    """Try every way the parts of the glob can share out the parts of the path."""
    if not glob:
        return not path
    first, *rest = glob
    if first == "**":
        return any(is_within(path[used:], rest) for used in range(len(path) + 1))
    one = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in first)
    return bool(path) and re.fullmatch(one, path[0]) is not None and is_within(path[1:], rest)


def found_by(glob, changed):
    full = glob if "*" in glob[-1] or "?" in glob[-1] else [*glob, "**"]
    return any(is_within(path.split("/"), full) for path in changed)


@given(st.lists(globs, min_size=1, max_size=3), st.lists(paths, max_size=4).map(tuple))
def test_changes_pass_exactly_if_every_glob_matches_one(wanted, changed):
    (verdict,) = verdicts_on(Check(changed=["/".join(glob) for glob in wanted]), changed=changed)

    assert verdict.is_passed is all(found_by(glob, changed) for glob in wanted)


@WITH_FILES
@given(globs, st.lists(paths, max_size=4), paths)
def test_in_a_shared_folder_files_are_found_exactly_where_they_are(glob, made, wanted):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        files = {path for path in made if write(root / path)}
        checks = Check(changed=("/".join(glob),)), Check(files=(wanted,))

        changed, exists = verdicts_on(*checks, cwd=root)

        assert changed.is_passed is found_by(glob, files)
        assert exists.is_passed is any(f"{path}/".startswith(f"{wanted}/") for path in files)


def write(path):
    """Write the file, unless its path leads through another one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    except OSError:
        return False
    return True


# --- judges -----------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_judge_passes_exactly_what_reaches_the_threshold(score, threshold):
    (verdict,) = verdicts_on(Check(judge="critic", threshold=threshold), score=score)

    assert verdict.is_passed is (score >= threshold)


# --- whatever a worker makes ------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=50).map(lambda raw: raw * 99), max_size=9), st.binary(max_size=5_000))
def test_evidence_of_a_command_is_bounded_text_for_any_bytes(lines, stderr):
    heard, check = _Heard(), Check(command=("x" * 999,))
    for line in lines:
        heard.take(line, False)

    assert len(heard.text()) <= 6_000 + len(GAP)
    streams = (readable(raw).strip() for raw in (heard.text(), stderr.decode(errors="replace")))
    evidence = _evidence(check, "ended", *streams)

    assert len(evidence) <= 2_000
    assert verdict_on(check, evidence, is_passed=False).evidence == evidence


@given(st.lists(st.binary(max_size=30), max_size=9))
def test_what_a_command_says_is_kept_whole_while_it_is_short(lines):
    heard, kept = _Heard(), [line.replace(b"\n", b"") for line in lines]
    for line in kept:
        heard.take(line, False)

    assert heard.text() == b"".join(line + b"\n" for line in kept).decode(errors="replace")


@given(any_text, st.integers(0, 60))
def test_an_excerpt_keeps_to_its_bound_and_a_readable_text_to_its_form(text, chars):
    assert len(excerpt(text, chars)) <= max(chars, 0)
    clean = readable(text)
    assert clean.encode().decode() == clean
    assert clean == readable(clean)
    assert all(letter.isprintable() or letter in "\n\t" or letter > "\x9f" for letter in clean)


@given(st.lists(st.builds(Verdict, check=any_text, is_passed=st.booleans(), evidence=any_text.map(lambda t: t * 400))))
def test_what_the_next_attempt_is_told_is_bounded_and_always_the_same(verdicts):
    text = evidence_text(verdicts)

    assert len(text) <= 6_000
    assert text == evidence_text(list(verdicts))


@WITH_PROCESSES
@given(any_text.flatmap(lambda text: st.sampled_from([text, text * 5_000])), st.none() | json_values)
def test_no_output_makes_verification_raise(output, data):
    checks = [
        Check(schema={"type": "object"}),
        Check(matches="never|\\Z"),
        Check(matches=r"\s*(?!)|\Z"),
        Check(command=("cat",)),
        Check(judge="critic"),
    ]

    verdicts = verdicts_on(*checks, output=output, data=data, cwd=Path(tempfile.gettempdir()))

    assert [verdict.is_passed for verdict in verdicts[1:4]] == [True, True, True]
    assert len(verdicts) == (5 if verdicts[0].is_passed else 4)
    for verdict in verdicts:
        assert len(verdict.evidence) <= 2_000
        assert readable(verdict.evidence) == verdict.evidence

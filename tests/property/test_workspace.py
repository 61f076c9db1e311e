"""Write scopes against a plain regular expression, and the names of workspaces against each other."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from orchestration.workspace.place import place_of
from orchestration.workspace.scopes import check_scope, fixed_folder, is_inside, overlap

LETTERS = "abAB."
NAMES = st.text(LETTERS, min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})
WILD = st.lists(
    st.one_of(st.sampled_from(LETTERS), st.sampled_from(["*", "?", "[ab]", "[!a]", "[A-B]", "[]]", "["])),
    min_size=1,
    max_size=4,
).map("".join)
PARTS = st.one_of(st.just("**"), NAMES, WILD).filter(lambda part: part not in {".", ".."})
SCOPES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def oracle(scope):
    """Spell a scope as one regular expression over the whole path."""
    parts = scope.split("/")
    if not set("*?") & set(parts[-1]):
        parts.append("**")
    return re.compile("".join(piece(part) for part in parts) + r"\Z", re.DOTALL)


def piece(part):
    """One part with the slash before it; the path is matched with a slash in front."""
    if part == "**":
        return "(?:/[^/]+)*"
    body, at = "", 0
    while at < len(part):
        found = re.compile(r"\[(!?)(\]?[^\]]*)\]").match(part, at)
        if found:
            members = found[2].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
            body += f"[{'^' if found[1] else ''}{members}]"
            at = found.end()
        else:
            body += {"*": "[^/]*", "?": "[^/]"}.get(part[at], re.escape(part[at]))
            at += 1
    return f"/(?:{body}|{re.escape(part)})"


@given(PATHS, SCOPES)
@example("src", "src/**")
@example("app/[slug]/page.tsx", "app/[slug]")
def test_a_path_is_inside_a_scope_exactly_when_a_regular_expression_says_so(path, scope):
    assume(not re.search(r"\[!?\](?!.*\])", scope))
    assert is_inside(path, [scope]) == (oracle(scope).match(f"/{path}") is not None)


@given(PATHS, SCOPES, SCOPES)
@example("ß", "?", "ß")
@example("SRC/x", "src", "SRC/*")
@example("[ab]", "[ab]", "????")
def test_scopes_overlap_whenever_some_path_is_inside_both(path, a, b):
    if is_inside(path, [a]) and is_inside(path, [b]):
        assert overlap([a], [b])
        assert overlap([b], [a])


@given(st.data(), SCOPES)
def test_scopes_overlap_when_both_were_made_for_the_same_path(data, a):
    path = data.draw(st.from_regex(oracle(a), fullmatch=True)).removeprefix("/")
    assume(all(path.split("/")) and is_inside(path, [a]))
    b = "/".join(
        data.draw(st.sampled_from([part, "*", "**", "?" * len(part), f"*{part[-1]}"])) for part in path.split("/")
    )
    assume(is_usable(b) and is_inside(path, [b]))
    assert overlap([a], [b])
    assert overlap([b], [a])


def is_usable(scope):
    try:
        check_scope(scope)
    except ValueError:
        return False
    return True


@given(SCOPES, SCOPES)
def test_overlap_does_not_depend_on_the_order(a, b):
    assert overlap([a], [b]) == overlap([b], [a])


@given(PATHS, PATHS)
def test_plain_scopes_overlap_exactly_when_one_is_within_the_other(a, b):
    x, y = f"{a.lower()}/", f"{b.lower()}/"
    assert overlap([a], [b]) == (x.startswith(y) or y.startswith(x))


@given(SCOPES, PATHS)
def test_whatever_is_inside_a_scope_lies_in_its_fixed_folder(scope, path):
    folder = fixed_folder(scope)
    if is_inside(path, [scope]) and folder:
        assert f"{path}/".startswith(f"{folder}/")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (["src/**"], ["src/app.py"], True),
        (["src/*.py"], ["src/*.md"], False),
        (["src/*.py"], ["src/sub/x.py"], False),
        (["src/**/test_*.py"], ["src/api"], True),
        (["docs", "src"], ["tests", "lib"], False),
        (["./src/"], ["src"], True),
        (["a*c"], ["ab*"], True),
        (["**"], ["anything/at/all"], True),
        (["."], ["anything"], True),
        ([], ["src"], False),
    ],
)
def test_overlap_of_scopes_as_people_write_them(a, b, expected):
    assert overlap(a, b) is expected


@pytest.mark.parametrize("scope", ["", " ", "/etc", "~/x", "../x", "src/../..", "a\\b", "src/*.{ts,tsx}", "a\0b"])
def test_a_scope_that_could_lead_out_or_means_nothing_is_refused(scope):
    with pytest.raises(ValueError, match="scope"):
        check_scope(scope)


@given(st.lists(st.text(min_size=1, max_size=130), min_size=2, max_size=6, unique_by=lambda name: name))
@example(["A", "a"])
@example(["a.lock", "a-lock"])
@example(["a/b", "a-b"])
def test_no_two_tasks_share_a_folder_a_branch_or_a_note_even_where_case_is_ignored(tmp_path_factory, task_ids):
    root = tmp_path_factory.getbasetemp()
    places = [place_of(root, "p", task_id) for task_id in task_ids]
    taken = [(place.folder, place.branch, place.note, place.lock) for place in places]
    assert len({str(name).casefold() for names in taken for name in names}) == 4 * len(task_ids)
    for place in places:
        assert place.folder.parent == root / ".orchestration" / "worktrees" / "p"
        assert not re.search(r"\.\.|\.lock$|[\x00-\x20~^:?*\[\\]|@\{|//|\.$", place.branch)

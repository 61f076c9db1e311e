"""Write scopes: globs below the root that say which paths a task may change. Pure.

`*` and `?` stay within a folder, `**` crosses folders, `[abc]` and `[!abc]` are classes. A scope whose last part has
no `*` or `?` means everything below it, too. A name that is spelled like a class (`app/[slug]`) is found as well.
"""

from __future__ import annotations

import fnmatch
from functools import lru_cache
from itertools import product, takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["LANDING", "WORKTREES", "check_scope", "fixed_folder", "is_inside", "overlap"]

WORKTREES = ".orchestration/worktrees"  # below the root
LANDING = f"{WORKTREES}/landing.json"  # there while a merge is being put into the root's files

_MANY: Final = "**"  # any number of parts of a path; among the letters of one part, any number of letters
_ANY: Final = ""  # one letter, whichever; others stand for themselves
_WILD: Final = "*?["


def check_scope(scope: str) -> None:
    """Refuse a scope that could mean something outside the root, or nothing at all.

    Raises:
        ValueError: if it is empty, absolute, leads out with `..`, or has braces in the shell's way.

    """
    if not scope.strip() or "\0" in scope:
        raise ValueError(f"scope {scope!r} is empty; expected a glob such as 'src/**'")
    if scope.startswith(("/", "~")) or ".." in scope.split("/") or "\\" in scope:
        raise ValueError(
            f"scope {scope!r} is not a path below the root; expected a glob such as 'src/**' or 'docs/*.md'"
        )
    if "{" in scope and "," in scope and "}" in scope:
        raise ValueError(f"scope {scope!r} has braces, which are not expanded; write one scope for each alternative")


def is_inside(path: str, scopes: Iterable[str]) -> bool:
    """Say whether the relative path is within any of the scopes; False when there are none.

    Raises:
        ValueError: as `check_scope`.

    """
    parts = tuple(path.split("/"))
    return any(_matches(parts, _parts(scope)) for scope in scopes)


def overlap(scopes_a: Iterable[str], scopes_b: Iterable[str]) -> bool:
    """Say whether some path may be within both: never False when one is.

    Case does not count (`SRC` and `src` are one folder on many disks), nor do the members of a class.

    Raises:
        ValueError: as `check_scope`.

    """
    return any(_meet(_parts(a), _parts(b), _names_meet) for a, b in product(tuple(scopes_a), tuple(scopes_b)))


def fixed_folder(scope: str) -> str:
    """Return the part of a scope before its first wildcard, where a search for its files can start; may be empty."""
    return "/".join(takewhile(lambda part: not any(character in part for character in _WILD), _parts(scope)))


@lru_cache(maxsize=4096)
def _parts(scope: str) -> tuple[str, ...]:
    check_scope(scope)
    parts = tuple(part for part in scope.split("/") if part not in {"", "."})
    if not parts:  # the root itself
        return (_MANY,)
    return parts if any(character in parts[-1] for character in "*?") else (*parts, _MANY)


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Compare part by part; `reached` holds the numbers of the path's parts that may be used up so far."""
    reached = {0}
    for part in pattern:
        if part == _MANY:
            reached = set(range(min(reached), len(path) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(path) and _is_same(path[at], part)}
        if not reached:
            return False
    return len(path) in reached


def _is_same(name: str, part: str) -> bool:
    return name == part or fnmatch.fnmatchcase(name, part)


def _meet(a: Sequence[str], b: Sequence[str], meets: Callable[[str, str], bool]) -> bool:
    """Walk two patterns at once, a state being how far each has come; `_MANY` stands for any number of steps."""
    todo, seen = [(0, 0)], {(0, 0)}
    while todo:
        at, to = todo.pop()
        if at == len(a) and to == len(b):
            return True
        for state in _steps(a, b, at, to, meets):
            if state not in seen:
                seen.add(state)
                todo.append(state)
    return False


def _steps(
    a: Sequence[str], b: Sequence[str], at: int, to: int, meets: Callable[[str, str], bool]
) -> Iterator[tuple[int, int]]:
    has_a, has_b = at < len(a), to < len(b)
    if (has_a and a[at] == _MANY) or (has_b and b[to] == _MANY):
        # Either the many end here, or they take in what the other pattern has next.
        if has_a:
            yield at + 1, to
        if has_b:
            yield at, to + 1
    elif has_a and has_b and meets(a[at], b[to]):
        yield at + 1, to + 1


@lru_cache(maxsize=4096)
def _names_meet(a: str, b: str) -> bool:
    """Say whether one name may match both; each may also be meant literally."""
    return any(_meet(x, y, _letters_meet) for x in (_tokens(a), _letters(a)) for y in (_tokens(b), _letters(b)))


def _letters_meet(a: str, b: str) -> bool:
    return a == b or _ANY in {a, b}


def _tokens(part: str) -> tuple[str, ...]:
    """Cut a part into `_MANY`, `_ANY` and single characters; classes are found as `fnmatch` finds them."""
    tokens, at = [], 0
    while at < len(part):
        end = part.find("]", at + 3 if part[at + 1 : at + 2] == "!" else at + 2) if part[at] == "[" else -1
        if end >= 0:
            tokens.append(_ANY)
            at = end + 1
            continue
        tokens.append({"*": _MANY, "?": _ANY}.get(part[at], _fold(part[at])))
        at += 1
    return tuple(tokens)


def _letters(part: str) -> tuple[str, ...]:
    return tuple(map(_fold, part))


def _fold(character: str) -> str:
    """Return the lower case, where that is one character, so that `?` still means as many."""
    lower = character.lower()
    return lower if len(lower) == 1 else character

"""The budgets a project file sets, read to the cent as they are written. Knows the file's sound content only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.budget import Budget, Budgets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.project_file.content import Content
    from orchestration.project_file.document import Document
    from orchestration.project_file.wording import Keys

__all__ = ["read_budgets"]


def read_budgets(content: Content) -> Budgets:
    """Return all budgets of a file without mistakes: of the project, its agents, tasks and tags."""
    document = content.document
    top = content.top.get("budget", {})
    agents = {name: (("agents", name), options) for name, options in (content.agents or {}).items()}
    tasks = {task_id: (entry.keys, entry.fields) for task_id, entry in content.tasks.items()}
    return Budgets(
        project=_budget(document, ("budget",), top),
        agents=_budgets(document, agents),
        tasks=_budgets(document, tasks),
        tags={
            tag: budget
            for tag, amounts in top.get("tags", {}).items()
            if (budget := _budget(document, ("budget", "tags", tag), amounts))
        },
        tagged={
            # Once each: a tag that is written twice must not count twice.
            task_id: tuple(dict.fromkeys(entry.fields["tags"]))
            for task_id, entry in content.tasks.items()
            if entry.fields.get("tags")
        },
        **{name: top[name] for name in ("on_limit", "allow_unknown_price") if name in top},
    )


def _budgets(document: Document, owners: Mapping[str, tuple[Keys, Mapping[str, Any]]]) -> dict[str, Budget]:
    return {
        name: budget
        for name, (keys, fields) in owners.items()
        if (budget := _budget(document, (*keys, "budget"), fields.get("budget", {})))
    }


def _budget(document: Document, keys: Keys, amounts: Mapping[str, Any]) -> Budget | None:
    usd, tokens = amounts.get("usd"), amounts.get("tokens")
    if usd is None and tokens is None:
        return None
    return Budget(
        usd=None if usd is None else document.exact((*keys, "usd"), usd),
        tokens=None if tokens is None else int(tokens),
    )

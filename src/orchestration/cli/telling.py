"""How the user is told that a task waits for them: the messenger, put together from what the project file says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orchestration.messenger import Messenger
from orchestration.orchestrator import state_path
from orchestration.redact import known_secrets
from orchestration.views.asked import steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orchestration.project_file import ProjectFile

__all__ = ["messenger_of"]


@asynccontextmanager
async def messenger_of(project: ProjectFile, command: Callable[..., str]) -> AsyncIterator[Messenger | None]:
    """Provide a project's messenger; None where nobody wants to be told. `command` makes a command line of words."""
    if project.notify is None:
        yield None
        return
    variables = [agent.api_key_env for agent in project.agents]
    messenger = Messenger(
        project.notify,
        project=project.project_id,
        root=project.root,
        commands_of=lambda known: steps(known, command),
        secrets=lambda: known_secrets(variables),
        owner=str(state_path(project.root, project.project_id).absolute()),
    )
    try:
        yield messenger
    finally:
        await messenger.aclose()

"""A project as it is on the disk, read beside whoever has it open. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration.budget import Budgets
from orchestration.cli.place import load
from orchestration.errors import ProjectFileError
from orchestration.fold import fold
from orchestration.journal import now
from orchestration.orchestrator import state_path
from orchestration.store.lock import owner_pid
from orchestration.store.sqlite import read_facts
from orchestration.views.model import as_if_interrupted, with_new_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestration.agent_registry import AgentConfig
    from orchestration.cli.place import Place
    from orchestration.events import Event
    from orchestration.project_file import ProjectFile
    from orchestration.run_state import RunState

__all__ = ["Home", "Snapshot", "find_home", "live_pid", "read_snapshot"]


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where a project's state is. `project` is None when its file has mistakes, which are then in `mistakes`."""

    root: Path
    project_id: str
    project: ProjectFile | None = None
    mistakes: Sequence[str] = ()

    @property
    def budgets(self) -> Budgets:
        """The budgets of the file; none while it has mistakes."""
        return Budgets() if self.project is None else self.project.budgets

    @property
    def agents(self) -> Sequence[AgentConfig]:
        """The agents of the file; none while it has mistakes."""
        return () if self.project is None else self.project.agents

    @property
    def state_path(self) -> Path:
        """The file of its facts."""
        return state_path(self.root, self.project_id)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A project's facts and the state they make, as the next run would find it.

    `pid` is the process that has it open. `notes` are for the person: how this differs from the file or the disk.
    """

    home: Home
    facts: Sequence[Event]
    state: RunState
    pid: int | None
    notes: Sequence[str]


def find_home(place: Place) -> Home:
    """Find a project by its file or, when that has mistakes, by the only state there is beside it.

    Whoever breaks the file during a run has to be able to look at the run all the same.

    Raises:
        ProjectFileError: if the file cannot be loaded and there is not exactly one state.

    """
    try:
        project = load(place)
    except ProjectFileError as exc:
        root = place.path.absolute().parent
        states = sorted((root / ".orchestration").glob("*.db"))
        if len(states) != 1:
            raise
        return Home(root=root, project_id=states[0].stem, mistakes=exc.problems)
    return Home(root=project.root, project_id=project.project_id, project=project)


def live_pid(home: Home) -> int | None:
    """Return the process that has the project open; None when nobody has."""
    return owner_pid(home.state_path.with_suffix(".lock"))


def read_snapshot(place: Place) -> Snapshot:
    """Read a project's state, and add what its file has and no run has seen yet.

    Raises:
        ProjectFileError: as `find_home`.
        StoreError: if the state cannot be read.

    """
    home = find_home(place)
    at = now()
    # Asked before reading: a run that ends in between is then shown as it ended.
    pid = live_pid(home)
    facts = [event for _, event in read_facts(home.state_path)]
    state = fold(facts)
    if pid is None:
        state = as_if_interrupted(state, at)
    notes = []
    if home.project is None:
        notes.append(f"{place.path} has mistakes ({place.command('validate')} lists them); this is the recorded state")
    else:
        if pid is None:
            state = with_new_tasks(state, home.project.tasks, at)
        notes += _removed(place, home.project, state)
    return Snapshot(home=home, facts=facts, state=state, pid=pid, notes=notes)


def _removed(place: Place, project: ProjectFile, state: RunState) -> list[str]:
    wanted = {task.task_id for task in project.tasks}
    # What a run has added goes with the task it comes from.
    gone = [name for known in state.ordered() if (name := known.task.task_id) not in wanted and not known.origin]
    if not gone:
        return []
    shown = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")  # noqa: PLR2004 -- a line's worth
    return [f"no longer in {place.file}, so the next run removes: {shown}"]

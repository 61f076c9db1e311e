"""From what a worker says it did to a result that counts: where it works, what it changed, its checks, the merge.

A claim is kept before it is checked, and what it changed is committed before that: nothing that was paid for is lost,
whatever comes next. Knows no kind of worker, and nothing of retries.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration import verification
from orchestration import workspace as trees
from orchestration.agent_registry import AgentType
from orchestration.clock import now
from orchestration.errors import AttemptError, FailureKind, ReviewNeededError
from orchestration.events import CheckFinished
from orchestration.redact import redact
from orchestration.runners.program import attempt_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from orchestration.agent_registry import AgentConfig
    from orchestration.attempt import Outcome
    from orchestration.execution import Execution
    from orchestration.task import AgentTask
    from orchestration.task_options import Check
    from orchestration.verification import Verdict
    from orchestration.workspace import Conflict, Workspace, Workspaces

__all__ = ["Delivered", "Delivery", "Errand", "Site", "workspace_of"]

_log = logging.getLogger("orchestration")

_FILES_MAX = 500
_MERGE_ROUNDS = 3  # others may merge while a conflict is being resolved


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where an execution works. `workspace` is its git worktree, where it has one."""

    path: Path | None
    workspace: Workspace | None = None


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """Something another agent is asked for on behalf of a task: to judge a result, to resolve a conflict."""

    agent: str
    title: str
    description: str
    output_schema: Mapping[str, Any] | None = None
    site: Site = msgspec.field(default_factory=lambda: Site(path=None))


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """A result, and what a person has to be asked before it counts; empty if it counts already."""

    outcome: Outcome
    asks: str = ""


class _Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A result whose changes are committed. `changed` are all their paths; None in a folder shared with others."""

    outcome: Outcome
    changed: tuple[str, ...] | None


class Delivery:
    """Delivers results of one executor. `send` has an agent run an errand and returns what it came to."""

    def __init__(self, root: Path | None, send: Callable[[Execution, Errand], Awaitable[Outcome]]) -> None:
        self._root = root
        self._send = send
        self._workspaces: dict[str, Workspaces] = {}

    @asynccontextmanager
    async def site(self, execution: Execution) -> AsyncIterator[Site]:
        """Provide the place that a task wants to work in.

        Raises:
            AttemptError: of kind `unavailable`, if it cannot be had: says why, and what to do.

        """
        match workspace_of(execution.task, execution.agent) if execution.mode != "interactive" else "shared":
            case "worktree":
                workspace = await self._open(execution)
                yield Site(path=workspace.path, workspace=workspace)
            case "none":
                # Below the project's own folder, where nothing else is written.
                above = None if self._root is None else self._root / ".orchestration" / "scratch"
                async with attempt_folder("task-", above=above) as folder:
                    yield Site(path=folder)
            case _:
                yield Site(path=self._root)

    async def deliver(self, execution: Execution, site: Site, outcome: Outcome) -> Delivered:
        """Keep a claim, check it, merge what it changed.

        Raises:
            AttemptError: of kind `check_failed`, with the evidence, if the work has to be done better; of another kind
                if the claim stands, but could not be verified.
            ReviewNeededError: if a person has to decide how it goes on.

        """
        task, context = execution.task, execution.context
        if site.workspace is None and not (task.checks or task.writes or task.output_file or task.adds_tasks):
            return Delivered(outcome=outcome)
        if site.workspace is not None and (task.on_conflict is not None or context.claim is not None):
            await self._go_on_resolving(execution, site, site.workspace, outcome)
        sealed = await self._sealed(execution, site, outcome)
        outcome = sealed.outcome
        if task.checks or site.workspace is not None:
            execution.claim(outcome)
            await context.durable()
        await self._verify(execution, site, sealed)
        asks = verification.asks_person(task.checks)
        if task.adds_tasks is not None:
            asks = "\n".join(filter(None, (asks, context.examine(outcome.data))))
        if (asks or execution.mode != "api") and not context.is_approved:
            return Delivered(outcome=outcome, asks=asks)
        if site.workspace is not None:
            outcome = await self._merged(execution, site, site.workspace, outcome)
        return Delivered(outcome=outcome)

    async def restore(self, execution: Execution, site: Site) -> None:
        """Make the worktree fit for another attempt: it may have lost its folder or its `.git` file, or got a lock.

        Raises:
            AttemptError: of kind `unavailable`, if it cannot be had any more: says why, and what to do.

        """
        if site.workspace is None:
            return
        try:
            await self._provide(execution, is_fresh=False)
        except AttemptError:  # such as for what the user is at in the project's folder: no need to wait for that
            if not await site.workspace.is_whole():
                raise

    async def _open(self, execution: Execution) -> Workspace:
        context = execution.context
        # What nobody can go on with would be in the way of whoever begins anew.
        is_fresh = context.session is None and context.claim is None and not (context.correction or context.draft)
        workspace = await self._provide(execution, is_fresh=is_fresh)
        if workspace.spare:
            _log.warning(
                "task %r begins anew; what an earlier attempt has left is on branch %r",
                execution.task.task_id,
                workspace.spare,
                extra={"action": "set_aside", "task": execution.task.task_id},
            )
        return workspace

    async def _provide(self, execution: Execution, *, is_fresh: bool) -> Workspace:
        task, context = execution.task, execution.context
        if self._root is None:
            raise AttemptError(
                f"task {task.task_id!r} wants a worktree, and the project is in memory; give it a project_root",
                kind=FailureKind.UNAVAILABLE,
            )
        workspaces = self._workspaces.get(context.project_id)
        if workspaces is None:
            workspaces = trees.Workspaces(self._root, context.project_id, ignoring=context.output_files())
            self._workspaces[context.project_id] = workspaces
        try:
            return await workspaces.open(task.task_id, is_fresh=is_fresh)
        except trees.WorkspaceError as exc:
            raise AttemptError(
                f"no workspace for task {task.task_id!r}: {exc} (`workspace: shared` works in the folder itself)",
                kind=FailureKind.UNAVAILABLE,
                details={"refusal": exc.kind.value},
            ) from exc

    async def _sealed(self, execution: Execution, site: Site, outcome: Outcome) -> _Sealed:
        """Commit what changed, refuse what is outside the task's scopes, and list the files."""
        task = execution.task
        facts: dict[str, Any] = {}
        changed: tuple[str, ...] | None = None
        if site.workspace is not None:
            facts, changed = await self._commit(execution, site.workspace)
            if not facts:  # merged by an earlier attempt already, perhaps, whose claim says what it was
                changed = tuple(file["path"] for file in outcome.metadata.get("files", ()))
        elif task.writes and site.path is not None:
            produced = await trees.produced_since(site.path, task.writes, execution.began_at, limit=_FILES_MAX)
            facts = {"files": msgspec.to_builtins(produced.files)}
        if task.output_file is not None:
            facts["files"] = [*facts.get("files", ()), _as_file(task.output_file, outcome.output)]
        if facts:
            outcome = msgspec.structs.replace(outcome, metadata={**outcome.metadata, **facts})
        return _Sealed(outcome=outcome, changed=changed)

    async def _commit(self, execution: Execution, workspace: Workspace) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return what there is to know of the changes, and all their paths; nothing where there are none."""
        task = execution.task
        try:
            commit = await workspace.commit(f"{task.title}\n\nTask {task.task_id}, run {execution.context.run_id}")
            if commit is None:
                return {}, ()
            outside = await workspace.outside(task.writes) if task.writes else ()
            files = await workspace.changes()
        except trees.WorkspaceError as exc:  # conflict markers, a repository within, ...: the worker left it so
            raise AttemptError(str(exc), kind=FailureKind.CHECK_FAILED) from exc
        if outside:
            raise AttemptError(
                f"these files are outside of what the task may write ({', '.join(task.writes)}): "
                f"{', '.join(outside[:20])}; take the changes back",
                kind=FailureKind.CHECK_FAILED,
            )
        facts = {
            "files": msgspec.to_builtins(files[:_FILES_MAX]),
            "workspace": {"branch": workspace.branch, "commit": commit, "path": str(workspace.path)},
        }
        return facts, tuple(file.path for file in files)

    async def _verify(self, execution: Execution, site: Site, sealed: _Sealed) -> None:
        task, context, outcome = execution.task, execution.context, sealed.outcome
        if not task.checks:
            return
        is_judged = any(check.judge for check in task.checks)
        claim = verification.Claim(
            output=outcome.output,
            data=outcome.data,
            changed=sealed.changed,
            since=execution.began_at,
            assignment=f"{task.title}\n\n{task.description or task.prompt or ''}".strip(),
            diff=await site.workspace.diff() if is_judged and site.workspace is not None else "",
        )

        async def judge(check: Check, text: str, schema: Mapping[str, Any]) -> Any:
            errand = Errand(
                agent=check.judge or "", title=f"Judge {task.title}", description=text, output_schema=schema
            )
            return (await self._send(execution, errand)).data

        def report(verdict: Verdict) -> None:
            context.report(
                CheckFinished(
                    at=now(),
                    task_id=task.task_id,
                    attempt=execution.number,
                    check=verdict.check,
                    is_passed=verdict.is_passed,
                    evidence=redact(verdict.evidence, execution.secrets),
                )
            )

        verdicts = await verification.verify(
            task.checks,
            claim,
            cwd=site.path,
            env=execution.environment(),
            owner=context.owner,
            judge=judge,
            report=report,
        )
        if site.workspace is not None and any(check.command for check in task.checks):
            await _tidy(task, site.workspace)
        if not all(verdict.is_passed for verdict in verdicts):
            raise AttemptError(
                redact(verification.evidence_text(verdicts), execution.secrets),
                kind=FailureKind.CHECK_FAILED,
                details={"answer": outcome.output[:2_000]},
            )

    async def _merged(self, execution: Execution, site: Site, workspace: Workspace, outcome: Outcome) -> Outcome:
        """Bring the work into the project's branch, and let go of the worktree."""
        task = execution.task
        for rounds_left in reversed(range(_MERGE_ROUNDS)):
            merged = await self._merge(execution, workspace, outcome)
            if not isinstance(merged, trees.Conflict):
                await workspace.remove()
                if "workspace" not in outcome.metadata:  # nothing was changed
                    return outcome
                place = {**outcome.metadata["workspace"], "merged": merged.commit}
                return msgspec.structs.replace(outcome, metadata={**outcome.metadata, "workspace": place})
            if task.on_conflict is None or not rounds_left:
                raise _conflict(task, workspace, merged, outcome)
            await self._resolve(execution, site, merged.diff, outcome)
            sealed = await self._sealed(execution, site, outcome)
            outcome = sealed.outcome
            execution.claim(outcome)
            await self._verify(execution, site, sealed)
        raise AssertionError("the last round returns or raises")

    async def _merge(self, execution: Execution, workspace: Workspace, outcome: Outcome) -> Any:
        task = execution.task
        try:
            return await workspace.merge(f"Merge task {task.task_id}: {task.title}")
        except trees.WorkspaceError as exc:
            raise ReviewNeededError(
                f"the work of task {task.task_id!r} is committed on {workspace.branch!r} and cannot be merged: {exc}",
                cause="workspace",
                outcome=outcome,
            ) from exc

    async def _go_on_resolving(self, execution: Execution, site: Site, workspace: Workspace, outcome: Outcome) -> None:
        """Have what is left of a conflict resolved, whose resolution was broken off: it is no failure of the worker."""
        try:
            left = await workspace.unresolved()
        except trees.WorkspaceError:  # of a folder the worker has ruined, which the commit will say
            return
        if not left:
            return
        if execution.task.on_conflict is None:
            raise _left_unresolved(execution.task, workspace, left, outcome)
        await self._resolve(execution, site, await workspace.diff(), outcome)

    async def _resolve(self, execution: Execution, site: Site, diff: str, outcome: Outcome) -> None:
        """Have the named agent resolve a conflict in the worktree."""
        task, workspace = execution.task, site.workspace
        assert workspace is not None  # noqa: S101 -- nothing else can be in conflict
        try:
            paths = await workspace.bring_conflict()
            await self._send(execution, _resolution(task, site, paths, diff))
            left = await workspace.unresolved()
        except trees.WorkspaceError as exc:
            raise ReviewNeededError(
                f"the conflict of task {task.task_id!r} cannot be resolved in {str(workspace.path)!r}: {exc}",
                cause="workspace",
                outcome=outcome,
            ) from exc
        if left:
            facts = {**outcome.metadata, "diff": diff}
            raise _left_unresolved(task, workspace, left, msgspec.structs.replace(outcome, metadata=facts))


def workspace_of(task: AgentTask, agent: AgentConfig) -> str:
    """Return where a task of this agent works: what it says, else a worktree for coding agents that may edit."""
    if task.workspace is not None:
        return task.workspace
    if agent.workspace is not None:
        return agent.workspace
    is_editor = agent.agent_type is AgentType.CLI and agent.tool is not None and agent.permissions != "read-only"
    return "worktree" if is_editor else "shared"


async def _tidy(task: AgentTask, workspace: Workspace) -> None:
    """Take away what the checks have left, such as reports: all that the worker did is in a commit."""
    try:
        paths = await workspace.tidy()
    except trees.WorkspaceError:  # the merge says what is the matter
        return
    if paths:
        _log.info(
            "task %r: files that its checks left in the worktree were removed: %s",
            task.task_id,
            ", ".join(paths[:10]),
            extra={"action": "tidied", "task": task.task_id},
        )


def _resolution(task: AgentTask, site: Site, paths: Sequence[str], diff: str) -> Errand:
    return Errand(
        agent=task.on_conflict or "",
        title=f"Resolve the merge conflict of {task.title}",
        description=(
            f"The work on {task.title!r} conflicts with work that was merged before it. These files in the present "
            f"folder hold git's conflict markers: {', '.join(paths)}. Edit them so that both intentions are kept, "
            f"remove all markers, and change nothing else.\n\n<diff>\n{diff}\n</diff>"
        ),
        site=site,
    )


def _left_unresolved(task: AgentTask, workspace: Workspace, left: Sequence[str], outcome: Outcome) -> ReviewNeededError:
    by = "" if task.on_conflict is None else f" by agent {task.on_conflict!r}"
    return ReviewNeededError(
        f"conflicts of task {task.task_id!r} were left unresolved{by}: {', '.join(left)}; "
        f"resolve them in {str(workspace.path)!r} and approve the task",
        cause="conflict",
        outcome=outcome,
    )


def _conflict(task: AgentTask, workspace: Workspace, conflict: Conflict, outcome: Outcome) -> ReviewNeededError:
    return ReviewNeededError(
        f"the work of task {task.task_id!r} conflicts with what was merged before it, in {', '.join(conflict.paths)}; "
        f"merge it by hand (`git merge {workspace.branch}`) and approve the task, or have it done again",
        cause="conflict",
        outcome=msgspec.structs.replace(outcome, metadata={**outcome.metadata, "diff": conflict.diff}),
    )


def _as_file(path: str, text: str) -> dict[str, Any]:
    from hashlib import sha256  # noqa: PLC0415 -- two milliseconds that most starts need not pay

    raw = text.encode()
    return {
        "path": path,
        "change": "added",
        "sha256": sha256(raw).hexdigest(),
        "size_bytes": len(raw),
    }

"""Work done by a model behind an API. The only room of this package that knows `llm_abstractions`."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llm_abstractions.factory
import llm_abstractions.prices
from llm_abstractions.clients import ClientPool
from llm_abstractions.errors import LlmError
from llm_abstractions.lane import LaneLimits
from llm_abstractions.lanes import Lanes
from llm_abstractions.types import NO_USAGE, Completion, FinishReason
from orchestration.answer import form_of
from orchestration.attempt import Outcome
from orchestration.clock import now
from orchestration.errors import AttemptError, InvalidTaskError, ProviderUnavailableError
from orchestration.events import CallFinished
from orchestration.redact import known_secrets, redact
from orchestration.runners.llm_request import LlmRequest, model_of, only_set, render
from orchestration.runners.response_cache import CachedAnswer, ResponseCache, responses_path
from orchestration.runners.traffic import BUDGETED_MAX_TOKENS, Admission, Traffic
from orchestration.runners.warmup import WarmUps
from orchestration.task import FailureKind, max_age_s

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from llm_abstractions.base_llm import BaseLlm
    from llm_abstractions.lane import Lane
    from orchestration.attempt import Work

__all__ = ["LaneLimits", "Lanes", "LlmRunner"]

_log = logging.getLogger(__name__)


class LlmRunner:
    """Calls models, at most once per attempt, with clients that all attempts share.

    `root` is the project's folder, where answers are kept that may be used again; without one they are in memory.
    """

    def __init__(
        self,
        limits: Mapping[str, LaneLimits] | None = None,
        *,
        root: Path | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._clients = ClientPool()
        self._traffic = Traffic(limits, rng=rng)
        self._warm_ups = WarmUps()
        self._answers = ResponseCache(None if root is None else responses_path(root))

    @property
    def lanes(self) -> Lanes:
        """The lanes calls go through, to be looked at and changed."""
        return self._traffic.lanes

    def closed_by(self, work: Work) -> FailureKind | None:
        """Return what kind of failure keeps calls from going out now; None: nothing does.

        Raises:
            InvalidTaskError: if there is no provider for the agent's type.
            ProviderUnavailableError: if the SDK or the key is missing.

        """
        kind = self._lane_of(work).closed_by
        return None if kind is None else FailureKind(kind.value)

    def may_retry(self, work: Work) -> bool:
        """Tell whether a failed call may be repeated soon: retries are a small share of what a lane carries.

        Raises:
            InvalidTaskError: if there is no provider for the agent's type.
            ProviderUnavailableError: if the SDK or the key is missing.

        """
        return self._lane_of(work).may_retry()

    def reopen(self) -> None:
        """Take calls again wherever failures, such as an account without money, ended that."""
        self._traffic.reopen()

    async def run(self, work: Work) -> Outcome:
        """Call the agent's model once, unless it answered the same request before and that may be used again.

        Raises:
            InvalidTaskError: if there is no provider for the agent's type, or `cache` is not what it can be.
            ProviderUnavailableError: if the SDK or the key is missing; nothing was called.
            AttemptError: if the call failed, with the provider's kind.

        """
        provider = self._provider(work)
        request = render(work, provider)
        age_s = _max_age_s(work)
        if age_s is None:
            return await self._call(work, provider, request)
        async with self._answers.turn(request.key, age_s, work.deadline) as turn:
            if turn.answer is not None:
                return _repeat(work, turn.answer)
            outcome = await self._call(work, provider, request)
            if await _is_worth_keeping(work, outcome):
                turn.keep(_cached(work, outcome))
            return outcome

    async def _call(self, work: Work, provider: BaseLlm, request: LlmRequest) -> Outcome:
        kept: dict[str, Any] = {}
        options = dict(request.options)
        try:
            async with (
                self._warm_ups.turn(request.group, priority=work.task.priority, deadline=work.deadline) as turn,
                self._traffic.admit(work, request.call) as admission,
            ):
                if admission.call_id:
                    options.setdefault("max_tokens", BUDGETED_MAX_TOKENS)
                if turn.is_ahead:
                    options["on_start"] = turn.begun
                turn.sent()
                answer = await _ask(work, provider, request.messages, options, admission, kept)
        except LlmError as exc:
            raise _failure(work, exc, kept, self._traffic.lane_of(request.call)) from exc
        _refuse_truncated(work, answer, kept)
        return Outcome(output=str(answer), metadata=kept)

    async def aclose(self) -> None:
        """Close the clients and the cache; twice is fine."""
        try:
            await self._answers.aclose()
        finally:
            await self._clients.aclose()

    def _lane_of(self, work: Work) -> Lane:
        return self._traffic.lane_of(render(work, self._provider(work)).call)

    def _provider(self, work: Work) -> BaseLlm:
        agent = work.agent
        options = {
            "api_key_env": agent.api_key_env,
            "base_url": agent.base_url,
            "model_path": agent.model_path and str((work.root or Path()) / agent.model_path),
            "headers": dict(agent.headers) or None,
        }
        try:
            # Looked up on the class at each call, so that callers can put their own in its place.
            return llm_abstractions.factory.LlmFactory.get_provider(
                agent.agent_type, model=model_of(work), clients=self._clients, **only_set(options)
            )
        except ImportError as exc:
            raise _unavailable(exc, "missing_dependencies") from exc
        except RuntimeError as exc:
            raise _unavailable(exc, "missing_api_key") from exc
        except ValueError as exc:
            raise InvalidTaskError(f"agent {agent.name!r}: {exc}") from exc


async def _ask(
    work: Work,
    provider: BaseLlm,
    messages: list[Any],
    options: dict[str, Any],
    admission: Admission,
    kept: dict[str, Any],
) -> str:
    """Make the call and report it; what is worth keeping of it goes into `kept`, also if it failed."""
    started_s = asyncio.get_running_loop().time()
    try:
        answer = await provider.generate_content_async(messages, **options)
    except LlmError as exc:
        if exc.answer is not None:
            kept |= await _record(work, exc.answer, started_s, admission)
        raise
    except TimeoutError as exc:  # of a caller's own provider; the executor's own timeout arrives as a cancellation
        raise AttemptError(
            f"the provider of agent {work.agent.name!r} timed out: {str(exc) or 'TimeoutError'}",
            kind=FailureKind.TIMEOUT,
        ) from exc
    if not isinstance(answer, str):
        raise AttemptError(
            f"the provider of agent {work.agent.name!r} returned {type(answer).__name__}, expected text",
            kind=FailureKind.TASK_ERROR,
        )
    admission.succeed(answer)
    kept |= await _record(work, answer, started_s, admission)
    return answer


async def _record(work: Work, answer: str, started_s: float, admission: Admission) -> dict[str, Any]:
    """Report the call and return what is worth keeping of it; a plain text says nothing of itself."""
    duration_s = asyncio.get_running_loop().time() - started_s
    facts: dict[str, Any] = {"provider": work.agent.agent_type.value, "model": model_of(work) or ""}
    usage: dict[str, Any] = {}
    cost = None
    if isinstance(answer, Completion):
        usage = asdict(answer.usage)
        facts["provider"] = answer.provider or facts["provider"]
        facts["model"] = answer.model or facts["model"]
        facts["finish_reason"] = answer.finish_reason.value
        facts["request_id"] = answer.request_id or ""
    try:
        if isinstance(answer, Completion):
            cost = await _cost_usd(facts["provider"], facts["model"], answer)
    finally:  # the call was made, even if we are cancelled while we look up its price
        admission.book(
            CallFinished(
                at=now(),
                task_id=work.task.task_id,
                attempt=work.context.attempt,
                agent=work.agent.name,
                tags=() if work.context.purse is None else work.context.purse.tags_of(work.task.task_id),
                call_id=admission.call_id,
                cost_usd=cost,
                duration_s=duration_s,
                **facts,
                **usage,
            )
        )
    kept = {name: value for name, value in facts.items() if value}
    return kept | {"usage": usage, "cost_usd": cost} if usage else kept


async def _cost_usd(provider: str, model: str, answer: Completion) -> str | None:
    try:
        price = await llm_abstractions.prices.cost_usd(provider, model, answer.usage)
    except Exception:  # noqa: BLE001 -- a paid answer must not be lost because its price cannot be worked out
        _log.warning("the price of a call of %r is not known", model, exc_info=True)
        return None
    return None if price is None else str(price)


def _max_age_s(work: Work) -> float | None:
    task, agent = work.task, work.agent
    if "cache" in task.metadata:
        return max_age_s(f"task {task.task_id!r}", task.metadata["cache"])
    return max_age_s(f"agent {agent.name!r}", agent.cache)


async def _is_worth_keeping(work: Work, outcome: Outcome) -> bool:
    """Tell whether the answer is whole and of the form that the task asks for."""
    if outcome.metadata.get("finish_reason", FinishReason.STOP) != FinishReason.STOP:
        return False
    form = await form_of(work.task)
    try:
        if form is not None:
            form.read(outcome.output)
    except AttemptError:  # said again by whoever reads the answer
        return False
    return True


def _cached(work: Work, outcome: Outcome) -> CachedAnswer:
    facts = {name: outcome.metadata.get(name, "") for name in ("provider", "model", "finish_reason")}
    return CachedAnswer(text=redact(outcome.output, known_secrets([work.agent.api_key_env])), **facts)


def _repeat(work: Work, answer: CachedAnswer) -> Outcome:
    """Report an answer that cost nothing, for it was given before, and return it."""
    facts: dict[str, Any] = {
        "provider": answer.provider,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
    }
    work.context.report(
        CallFinished(
            at=now(),
            task_id=work.task.task_id,
            attempt=work.context.attempt,
            agent=work.agent.name,
            tags=() if work.context.purse is None else work.context.purse.tags_of(work.task.task_id),
            cost_usd="0",
            cached=True,
            **facts,
        )
    )
    kept = {name: value for name, value in facts.items() if value}
    return Outcome(output=answer.text, metadata=kept | {"cached": True, "usage": asdict(NO_USAGE), "cost_usd": "0"})


def _refuse_truncated(work: Work, answer: str, metadata: dict[str, Any]) -> None:
    if getattr(answer, "finish_reason", None) != FinishReason.LENGTH or work.agent.allow_truncated:
        return
    raise AttemptError(
        f"the answer of {metadata['model']!r} was cut at max_tokens; raise max_tokens of task {work.task.task_id!r} "
        f"or agent {work.agent.name!r}, or set allow_truncated to accept cut answers",
        kind=FailureKind.TRUNCATED,
        details={**metadata, "answer": answer[-2_000:]},
    )


def _failure(work: Work, exc: LlmError, spent: dict[str, Any], lane: Lane) -> AttemptError:
    if isinstance(exc, ImportError):
        return _unavailable(exc, "missing_dependencies")
    if isinstance(exc, RuntimeError):
        return _unavailable(exc, "missing_api_key")
    facts = {"provider": exc.provider, "model": exc.model, "status_code": exc.status_code, "request_id": exc.request_id}
    return AttemptError(
        f"agent {work.agent.name!r}: {exc}",
        kind=FailureKind(exc.kind.value),
        retry_after_s=_wait_s(exc, lane),
        details={name: value for name, value in facts.items() if value} | spent,
    )


def _wait_s(exc: LlmError, lane: Lane) -> float | None:
    """Return for how long it is no use to try again, as the provider or, after a rate limit, the lane says."""
    if exc.kind.value != FailureKind.RATE_LIMIT or exc.retry_after_s is not None:
        return exc.retry_after_s
    wait_s = lane.wait_hint_s()
    return wait_s if isfinite(wait_s) else None


def _unavailable(exc: Exception, reason: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(str(exc), kind=FailureKind.UNAVAILABLE, reason=reason)

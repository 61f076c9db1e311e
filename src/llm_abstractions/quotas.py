"""Hold one lane's quotas per minute: those a person set and those the provider states. Pure: time is an argument."""

from dataclasses import dataclass, fields

from llm_abstractions.bucket import Bucket
from llm_abstractions.cost import RESOURCES
from llm_abstractions.rate_limits import Quota, RateLimits

__all__ = ["Amounts", "LaneLimits", "Quotas"]

Amounts = tuple[float, float, float, float]  # one number for each of RESOURCES


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneLimits:
    """Ceilings a person sets: requests and tokens per minute, calls under way at once. None: no ceiling.

    `tokens_per_minute` counts input and output together, as OpenAI does; Anthropic limits each by itself.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"{field.name} is {value!r}; expected a whole number above 0, or None (leave it out) for no limit"
                )


class Quotas:
    """All buckets of a lane; a call has to find room in each, so the lower of two limits wins."""

    def __init__(self) -> None:
        self._ceilings: dict[int, Bucket] = {}
        self._stated: dict[int, Bucket] = {}
        self._all: tuple[tuple[int, Bucket, str], ...] = ()
        self._taken: Amounts = (0.0, 0.0, 0.0, 0.0)  # of all time, as estimated, less what was refused

    def change(self, limits: LaneLimits, now: float) -> None:
        """Put a person's ceilings in force."""
        for index, resource in enumerate(RESOURCES):
            per_minute: int | None = getattr(limits, f"{resource}_per_minute")
            if per_minute is None:
                self._ceilings.pop(index, None)
            elif index in self._ceilings:
                self._ceilings[index].change(per_minute, now)
            else:
                self._ceilings[index] = Bucket(per_minute, now=now, is_estimated=resource != "requests")
        self._collect()

    def wait(self, amounts: Amounts, now: float) -> tuple[float, str]:
        """Return the seconds until all quotas have room, and which of them takes longest."""
        longest, reason = 0.0, ""
        for index, bucket, name in self._all:
            wait_s = bucket.wait_s(amounts[index], now)
            if wait_s > longest:
                longest, reason = wait_s, name
        return longest, reason

    def refill_s(self, amounts: Amounts, now: float) -> float:
        """Return the seconds until so much has come in, for the calls of a whole line."""
        return max((bucket.refill_s(amounts[index], now) for index, bucket, _ in self._all), default=0.0)

    def take(self, amounts: Amounts, now: float) -> Amounts:
        """Use up a call's estimate and return all that was ever taken, with it."""
        for index, bucket, _ in self._all:
            bucket.take(amounts[index], now)
        requests, tokens, inputs, outputs = self._taken
        self._taken = (requests + amounts[0], tokens + amounts[1], inputs + amounts[2], outputs + amounts[3])
        return self._taken

    def give_back(self, amounts: Amounts) -> None:
        """Undo a `take`: the call was refused, or never made."""
        for index, bucket, _ in self._all:
            bucket.correct(amounts[index], 0)
        requests, tokens, inputs, outputs = self._taken
        self._taken = (requests - amounts[0], tokens - amounts[1], inputs - amounts[2], outputs - amounts[3])

    def settle(self, estimated: Amounts, actual: Amounts) -> None:
        """Replace an estimate by what was used, where nobody else counts: stated quotas follow the provider's count."""
        for index, bucket in self._ceilings.items():
            bucket.correct(estimated[index], actual[index])

    def learn(self, limits: RateLimits, *, sent_at: float, before: Amounts, now: float) -> None:
        """Follow the provider's own count from now on. `before` is what `take` returned for the call that heard it."""
        for index, resource in enumerate(RESOURCES):
            quota: Quota | None = getattr(limits, resource)
            if quota is None:
                continue
            if index not in self._stated:
                if not quota.limit:
                    continue
                self._stated[index] = Bucket(quota.limit, now=now, is_estimated=resource != "requests")
                self._collect()
            self._stated[index].learn(quota, sent_at=sent_at, before=before[index], since=self._taken[index], now=now)

    def is_short(self, amounts: Amounts, now: float) -> bool:
        """Say whether what the provider states explains that it refused a call."""
        return any(bucket.wait_s(amounts[index], now) > 0 for index, bucket in self._stated.items())

    def stated(self, now: float) -> RateLimits | None:
        """Return the provider's quotas as they must stand now; None if it states none."""
        quotas = {
            RESOURCES[index]: Quota(limit=int(bucket.per_minute), remaining=max(0, int(bucket.level(now))))
            for index, bucket in self._stated.items()
        }
        return RateLimits(**quotas) if quotas else None

    def _collect(self) -> None:
        named = (("our limit of", self._ceilings), ("the provider's limit of", self._stated))
        self._all = tuple(
            (index, bucket, f"{owner} {RESOURCES[index].replace('_', ' ')} per minute")
            for owner, buckets in named
            for index, bucket in sorted(buckets.items())
        )

"""A quota that refills continuously. Pure: the moment is an argument, in seconds of any one clock."""

from llm_abstractions.rate_limits import Quota

__all__ = ["Bucket"]

# How far the provider's way of counting may differ from our estimates before we take it for noise.
_SCALE_MIN, _SCALE_MAX = 0.1, 20.0
_SCALE_WEIGHT = 0.3
# To arrive a moment too early costs a refusal; to arrive this much later costs nothing to speak of.
_MARGIN, _EARLY_S = 1.02, 0.05


class Bucket:
    """So much per minute: the rate is also the size, and it starts full, as the providers' own buckets do.

    `is_estimated` is false for requests, which both sides count alike. A bucket that follows a provider's headers
    (`learn`) keeps to its level, and finds out by what factor the provider counts differently from our estimates.
    """

    __slots__ = ("_at", "_heard", "_is_estimated", "_level", "_scale", "per_minute")

    def __init__(self, per_minute: float, *, now: float, is_estimated: bool = True) -> None:
        self.per_minute = per_minute
        self._is_estimated = is_estimated
        self._level = per_minute
        self._at = now
        self._scale = 1.0
        self._heard: tuple[float, float, float] | None = None  # (moment sent, taken by then, remaining) last learned

    def level(self, now: float) -> float:
        """Return what is left, below zero where more was used than estimated."""
        if now > self._at:
            self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
            self._at = now
        return self._level

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` is there. More than the bucket holds waits for a full one."""
        needed = amount * self._scale * _MARGIN + self.per_minute / 60 * _EARLY_S
        missing = min(needed, self.per_minute) - self.level(now)
        return missing * 60 / self.per_minute if missing > 0 else 0.0

    def refill_s(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` has come in, be it in several fills."""
        return max(0.0, (amount * self._scale - self.level(now)) * 60 / self.per_minute)

    def take(self, amount: float, now: float) -> None:
        """Use up an estimated amount."""
        self._level = self.level(now) - amount * self._scale

    def correct(self, estimated: float, actual: float) -> None:
        """Replace an estimate by what was really used."""
        self._level = min(self.per_minute, self._level + (estimated - actual) * self._scale)

    def change(self, per_minute: float, now: float) -> None:
        """Give the quota another size; it stays as full as it is, so that a small one does not wait for hours."""
        self._level = self.level(now) * per_minute / self.per_minute
        self.per_minute = per_minute

    def learn(self, quota: Quota, *, sent_at: float, before: float, since: float, now: float) -> None:
        """Correct the level by what a provider says was left when it counted a call that was sent at `sent_at`.

        `before` is all that was ever taken when that call was sent, with it, `since` all that is taken now, both in our
        estimates: what was sent later is not in the provider's number yet. When it counted nobody knows, at the latest
        just now, at the earliest on sending, and as much may have refilled since. Our own level is moved into that
        range, no further: where many calls wait to be sent, the earliest moment promises too much. Answers that come
        out of order say nothing new.
        """
        if quota.limit and quota.limit != self.per_minute:
            self.change(quota.limit, now)
        if quota.remaining is None or (self._heard is not None and sent_at <= self._heard[0]):
            return
        self._learn_scale(quota.remaining, sent_at, before)
        own = self.level(now) if self._heard is not None else self.per_minute - since * self._scale
        self._heard = (sent_at, before, quota.remaining)
        least = quota.remaining - (since - before) * self._scale
        most = least + min(self.per_minute - quota.remaining, (now - sent_at) * self.per_minute / 60)
        self._level = min(max(own, least), most)
        self._at = now

    def _learn_scale(self, remaining: float, sent_at: float, taken: float) -> None:
        """Compare two statements of the provider with what we thought was used between them."""
        if self._heard is None:
            refilled, ours, weight = self.per_minute, taken, 1.0
        else:
            heard_at, heard_taken, heard = self._heard
            refilled = heard + (sent_at - heard_at) * self.per_minute / 60
            ours, weight = taken - heard_taken, _SCALE_WEIGHT
        if not self._is_estimated or ours <= 0 or refilled > self.per_minute:
            return  # nothing to compare, or the bucket was full meanwhile and part of the refill was lost
        observed = (refilled - remaining) / ours
        self._scale += (min(max(observed, _SCALE_MIN), _SCALE_MAX) - self._scale) * weight

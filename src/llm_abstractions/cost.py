"""Guess what a call will use, from what the calls before it used. Pure; knows no lane and no limit."""

from dataclasses import dataclass
from math import ceil

__all__ = ["NO_COST", "RESOURCES", "Cost", "Estimates"]

RESOURCES = ("requests", "tokens", "input_tokens", "output_tokens")
_CHARS_PER_TOKEN = 4
# An answer of an agent nobody has seen work yet, when the call allows as much.
_DEFAULT_OUTPUT_TOKENS = 1_000
_WEIGHT = 0.3  # of the latest call in the averages
_CORRECTION_MIN, _CORRECTION_MAX = 0.05, 20.0
_MAX_KEYS = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The tokens a call is expected to use. `prompt_chars` and `key` are what the guess was made from, to learn by."""

    input_tokens: int = 0
    output_tokens: int = 0
    prompt_chars: int = 0
    key: str = ""

    def amounts(self) -> tuple[int, int, int, int]:
        """Return how much the call needs of each of `RESOURCES`."""
        return (1, self.input_tokens + self.output_tokens, self.input_tokens, self.output_tokens)


NO_COST = Cost()


class Estimates:
    """What calls of one lane use: input by the characters of the prompt, output by `key` (an agent)."""

    def __init__(self) -> None:
        self._correction: float | None = None
        self._output_tokens: dict[str, float] = {}

    def estimate(self, prompt_chars: int, max_tokens: int | None, key: str) -> Cost:
        """Return what a call will probably use; never more output than `max_tokens` allows."""
        correction = 1.0 if self._correction is None else self._correction
        output = self._output_tokens.get(key, _DEFAULT_OUTPUT_TOKENS)
        return Cost(
            input_tokens=ceil(prompt_chars / _CHARS_PER_TOKEN * correction),
            output_tokens=ceil(output if max_tokens is None else min(output, max_tokens)),
            prompt_chars=prompt_chars,
            key=key,
        )

    def learn(self, cost: Cost, actual: Cost) -> None:
        """Compare an estimate with what was used. A cost that was not estimated here teaches nothing."""
        if cost.prompt_chars <= 0:
            return
        observed = actual.input_tokens * _CHARS_PER_TOKEN / cost.prompt_chars
        observed = min(max(observed, _CORRECTION_MIN), _CORRECTION_MAX)
        self._correction = _average(self._correction, observed)
        if cost.key not in self._output_tokens and len(self._output_tokens) >= _MAX_KEYS:
            del self._output_tokens[next(iter(self._output_tokens))]
        self._output_tokens[cost.key] = _average(self._output_tokens.get(cost.key), actual.output_tokens)


def _average(before: float | None, latest: float) -> float:
    return latest if before is None else before + (latest - before) * _WEIGHT

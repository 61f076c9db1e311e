"""Find the lane of a call: one for each provider, account and model family. Knows no provider's SDK and no key."""

import random
import re
from collections.abc import Mapping

from llm_abstractions.lane import Lane, LaneLimits, LaneStatus

__all__ = ["LOCAL_LIMITS", "Lanes", "family_of"]

# A model on this machine shares its processors with everything else.
LOCAL_LIMITS = LaneLimits(concurrency=4)
_DEFAULTS = {"local": LOCAL_LIMITS}
# Where input read from the provider's cache does not count towards its limits.
_FREE_CACHE = frozenset({"anthropic"})
_EVERY = "*"
_NO_NAME = frozenset({"latest", "preview", "exp", "experimental"})


class Lanes:
    """The lanes of one executor, made when they are first asked for; like them, for one event loop after the other.

    `limits` are ceilings by lane name or the beginning of one, in whole words: "anthropic", "anthropic/claude",
    "anthropic/claude-sonnet" (or a model id of that family), "*" for all. The longest that fits is in force, alone.
    """

    def __init__(self, limits: Mapping[str, LaneLimits] | None = None, *, rng: random.Random | None = None) -> None:
        self._limits = _DEFAULTS | {_normal(pattern): ceilings for pattern, ceilings in (limits or {}).items()}
        self._lanes: dict[tuple[str, str, str], Lane] = {}
        self._random = rng

    def lane_of(self, provider: str, account: str = "", model: str = "") -> Lane:
        """Return the lane for calls to `model` of `provider` with the key and address that `account` stands for.

        Its name is "<provider>/<model family>", and of a second account "<provider>/<model family>@<account>".
        """
        key = (provider, account, model)
        if (lane := self._lanes.get(key)) is None:
            lane = self._lanes[key] = self._find(provider, account, family_of(model))
        return lane

    def change(self, pattern: str, limits: LaneLimits) -> None:
        """Put other ceilings in force for the lanes that `pattern` fits best, those that exist and those to come."""
        self._limits[_normal(pattern)] = limits
        for lane in self.matching(pattern):
            if (current := self._limits_of(lane.name)) != lane.limits:
                lane.change(current)

    def matching(self, pattern: str) -> list[Lane]:
        """Return the lanes whose name is or begins with `pattern`, by name."""
        pattern = _normal(pattern)
        lanes = {lane.name: lane for lane in self._lanes.values() if _fits(pattern, lane.name)}
        return [lanes[name] for name in sorted(lanes)]

    def status(self) -> list[LaneStatus]:
        """Return how each lane stands, by name."""
        return [lane.status() for lane in self.matching(_EVERY)]

    def _find(self, provider: str, account: str, family: str) -> Lane:
        """Return the lane of another model of the same family, or a new one."""
        for (known_provider, known_account, model), lane in self._lanes.items():
            if (known_provider, known_account, family_of(model)) == (provider, account, family):
                return lane
        name = f"{provider}/{family}" if family else provider
        if any(lane.name == name for lane in self._lanes.values()):
            name = f"{name}@{account or 'default'}"
        counts_cached = provider not in _FREE_CACHE
        return Lane(name, self._limits_of(name), counts_cached=counts_cached, rng=self._random)

    def _limits_of(self, name: str) -> LaneLimits:
        fitting = [pattern for pattern in self._limits if _fits(pattern, name)]
        best = max(fitting, key=lambda pattern: 0 if pattern == _EVERY else len(pattern), default=None)
        return LaneLimits() if best is None else self._limits[best]


def _fits(pattern: str, name: str) -> bool:
    return pattern in {_EVERY, name} or (name.startswith(pattern) and name[len(pattern)] in "/-@")


def _normal(pattern: str) -> str:
    """Return the pattern of a whole model id as that of its family."""
    provider, slash, rest = pattern.partition("/")
    model, at, account = rest.partition("@")
    return f"{provider}{slash}{family_of(model)}{at}{account}"


def family_of(model: str) -> str:
    """Return a model id without versions, dates and sizes: what providers limit together.

    "claude-sonnet-5-5" and "claude-sonnet-5" are both "claude-sonnet", "gpt-6.2-astra" is "gpt-astra". The first word
    stays as it is: "o4-mini" is none of "o3-mini"'s family.
    """
    first, *rest = re.split(r"[^a-z0-9]+", model.lower())
    return "-".join([first, *(word for word in rest if word.isalpha() and word not in _NO_NAME)])

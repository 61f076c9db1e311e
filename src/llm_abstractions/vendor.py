"""Say what each provider needs: packages, key variables, a default model. Imports no SDK and looks at the environment
only when asked.
"""

import os
import sys
from dataclasses import dataclass

from llm_abstractions.errors import MissingKeyError, MissingSdkError

__all__ = ["DEFAULT_MODELS", "DISTRIBUTION", "Vendor"]

DISTRIBUTION = "async-orchestrator"

# The model of an agent that names none. Ids change monthly and are never validated: the provider knows best.
DEFAULT_MODELS = {
    "anthropic": "claude-sonnet-5-5",
    "openai": "gpt-6-sol",
    "gemini": "gemini-3.8-flash",
    "local": "SmolLM2-135M-Instruct.Q4_1",
}

# Packages found once stay found (looking touches the disk, and providers are made for every attempt); missing ones are
# looked for again, for they may be installed meanwhile.
_found: set[str] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class Vendor:
    """What a provider needs before it can be called.

    `modules` are the import names behind `extra`, the SDK's first; `sdk` is its distribution. The first of
    `key_variables` that is set holds the key; none at all means that no key is needed. `domains` are the vendor's own.
    """

    name: str
    title: str
    extra: str
    sdk: str
    modules: tuple[str, ...]
    key_variables: tuple[str, ...] = ()
    base_url_variable: str | None = None
    domains: tuple[str, ...] = ()

    def is_own_url(self, base_url: str | None) -> bool:
        """Say whether `base_url` is the vendor's own API (None is) and not a compatible server's."""
        from urllib.parse import urlsplit  # noqa: PLC0415 - 2 ms that a start without calls does not need

        host = (urlsplit(base_url).hostname or "") if base_url else None
        return host is None or any(host == domain or host.endswith(f".{domain}") for domain in self.domains)

    @property
    def install_command(self) -> str:
        """The command that installs what is missing."""
        return f"pip install '{DISTRIBUTION}[{self.extra}]'"

    def missing_modules(self) -> tuple[str, ...]:
        """Return the import names that are not installed, without importing them."""
        return tuple(module for module in self.modules if not _is_installed(module))

    def installed_version(self) -> str | None:
        """Return the SDK's version, None when it is not installed."""
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 15 ms, and only `doctor` asks

        try:
            return version(self.sdk)
        except PackageNotFoundError:
            return None

    def require_modules(self, model: str) -> None:
        """Raise `MissingSdkError` when a package is missing."""
        if missing := self.missing_modules():
            raise MissingSdkError(
                f"the {self.title} provider needs {', '.join(missing)}, which is not installed. "
                f"Run: {self.install_command}",
                provider=self.name,
                model=model,
            )

    def find_key(self, variable: str | None = None) -> str | None:
        """Return the key in `variable`, or else in the first of the usual variables that is set; None if none is."""
        for name in (variable,) if variable else self.key_variables:
            if key := os.environ.get(name, "").strip():
                return key
        return None

    def find_base_url(self) -> str | None:
        """Return the base URL the environment asks for, if it does."""
        return (os.environ.get(self.base_url_variable) or None) if self.base_url_variable else None

    def missing_key_error(self, model: str, variable: str | None = None) -> MissingKeyError:
        """Build the error that names the variable to set."""
        names = " or ".join((variable,) if variable else self.key_variables)
        return MissingKeyError(
            f"no key for the {self.title} provider: the environment variable {names} is not set. "
            f"Set it to your API key, or name another variable with api_key_env=...",
            provider=self.name,
            model=model,
        )


def _is_installed(module: str) -> bool:
    import importlib.util  # noqa: PLC0415 - as above

    if module in sys.modules:
        return sys.modules[module] is not None
    if module not in _found:
        try:
            if importlib.util.find_spec(module) is None:
                return False
        except ModuleNotFoundError:  # a dotted name whose parent is not installed
            return False
        _found.add(module)
    return True

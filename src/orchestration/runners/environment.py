"""Which environment variables a coding agent may see: a list of what is allowed, never all but a list. Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from orchestration.redact import known_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestration.attempt import Work

__all__ = ["environment", "identity", "secrets_in"]

# What programs need to find their files, their language, the network and the tools of a developer. No keys.
_BASE = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TEMP", "TMP", "TZ"),
    *("LANG", "LANGUAGE", "LC_*", "XDG_*"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_CONFIG_GLOBAL"),
    *("VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", "NVM_DIR", "NODE_PATH", "JAVA_HOME", "GOPATH", "GOROOT"),
    *("CARGO_HOME", "RUSTUP_HOME", "LD_LIBRARY_PATH", "SYSTEMROOT"),
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
# A terminal that can nothing, and nobody to ask.
_FIXED = {
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "GIT_TERMINAL_PROMPT": "0",
}


def environment(given: Mapping[str, str], allowed: Iterable[str], *extra: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `given` that everyone may see, or whose name is one of `allowed`, and then `extra`.

    Names may be patterns: `AWS_*`.
    """
    patterns = (*_BASE, *allowed)
    kept = {name: value for name, value in given.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}
    for more in (_FIXED, *extra):
        kept |= more
    return kept


def identity(work: Work) -> dict[str, str]:
    """Return what tells a program whose work it does; the key stays the same until that work is done."""
    return {
        "ORCHESTRATION_TASK_ID": work.task.task_id,
        "ORCHESTRATION_RUN_ID": work.context.run_id,
        "ORCHESTRATION_ATTEMPT": str(work.context.attempt),
        "ORCHESTRATION_IDEMPOTENCY_KEY": work.idempotency_key,
    }


def secrets_in(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values that a child's environment holds under names such as secrets have; the longest first."""
    return known_secrets(name for name in env if _SECRET.search(name))

"""Work done by a function of the project, `module:function`, called with the `Work`. Knows no model, no process."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import sys
import threading
import traceback
from contextlib import suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration.attempt import Outcome
from orchestration.errors import AttemptError, InvalidTaskError
from orchestration.runners.threads import Threads
from orchestration.task import FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestration.attempt import Work

__all__ = ["PythonRunner"]

_import_lock = threading.Lock()  # sys.path and sys.modules belong to the whole process


class PythonRunner:
    """Calls functions: asynchronous ones on the event loop, others in a thread.

    The project's folder comes first on `sys.path` from the first call until `aclose`, which also forgets the project's
    modules again, so that another project in the same process gets its own.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = None if root is None else root.resolve()
        self._functions: dict[str, Callable[[Work], Any]] = {}
        self._threads = Threads()
        self._is_on_path = False

    async def run(self, work: Work) -> Outcome:
        """Call the agent's function once.

        It may return text, data that JSON can say, or None, and raise an `AttemptError` to name a failure's kind.

        Raises:
            InvalidTaskError: if the agent names no function.
            AttemptError: of kind `unavailable` if there is no such function; of kind `task_error`, with the place in
                its code, if it raised or returned something else.

        """
        name = work.agent.function or ""
        module, colon, function_name = name.partition(":")
        if not (module and colon and function_name):
            raise InvalidTaskError(
                f"agent {work.agent.name!r}: function is {work.agent.function!r}, expected 'module:function'"
            )
        try:
            function = self._functions.get(name) or await self._load(name)
            if inspect.iscoroutinefunction(function):
                made = await function(work)
            else:
                made = await self._threads.run(partial(function, work))
                if inspect.isawaitable(made):
                    made = await made
        except AttemptError:
            raise
        except (Exception, SystemExit) as exc:
            raise _failure(name, exc) from exc
        return _outcome(name, made)

    async def aclose(self) -> None:
        """End the idle threads and take the project off `sys.path`; twice is fine."""
        self._threads.close()
        self._threads = Threads()
        self._functions.clear()
        if self._is_on_path:
            self._is_on_path = False
            _forget(str(self._root))

    async def _load(self, name: str) -> Callable[[Work], Any]:
        """Import the function, in a thread: user modules may take long."""
        function = await self._threads.run(partial(self._import, *name.split(":", 1)))
        if not callable(function):
            raise AttemptError(
                f"{name!r} is {type(function).__name__}, expected a function that takes the work",
                kind=FailureKind.UNAVAILABLE,
            )
        self._functions[name] = function
        return function  # type: ignore[no-any-return]  # called with the work, whatever it is

    def _import(self, module: str, name: str) -> Any:
        with _import_lock:
            if self._root is not None and str(self._root) not in sys.path:
                sys.path.insert(0, str(self._root))
                self._is_on_path = True
            importlib.invalidate_caches()  # the file may be younger than the last look into its folder
            _refuse_shadowed(module.partition(".")[0], self._root)
        try:
            return attrgetter(name)(importlib.import_module(module))
        except ModuleNotFoundError as exc:
            if exc.name is None or not f"{module}.".startswith(f"{exc.name}."):
                raise  # the module is there; something it imports is not
            where = "an installed package" if self._root is None else f"{str(self._root)!r} or an installed package"
            raise AttemptError(
                f"there is no module {module!r} for the function {module}:{name}; expected it in {where}",
                kind=FailureKind.UNAVAILABLE,
            ) from exc
        except AttributeError as exc:
            if not _is_missing(module, name):
                raise  # the module itself ran into it
            raise AttemptError(
                f"module {module!r} ({_origin(module)}) has no function {name!r}", kind=FailureKind.UNAVAILABLE
            ) from exc


def _is_missing(module: str, name: str) -> bool:
    return module in sys.modules and not hasattr(sys.modules[module], name.partition(".")[0])


def _outcome(name: str, made: object) -> Outcome:
    if isinstance(made, str):
        return Outcome(output=made)
    if made is None:
        return Outcome(output="")
    try:
        # Strict on purpose: what is stored must read back as it was returned.
        text = json.dumps(made, ensure_ascii=False, allow_nan=False)
        data = msgspec.json.decode(text)
    except (TypeError, ValueError, RecursionError) as exc:
        raise AttemptError(
            f"function {name!r} returned {type(made).__name__}, expected text, None or what JSON can say "
            f"(numbers, booleans, lists, mappings with text keys): {exc}",
            kind=FailureKind.TASK_ERROR,
        ) from exc
    return Outcome(output=text, data=data)


def _failure(name: str, exc: BaseException) -> AttemptError:
    """Say what the function raised and where in the code of its author."""
    logging.getLogger(__name__).debug("function %r failed", name, exc_info=exc)
    home = Path(_origin(name.partition(":")[0])).parent
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(exc.__traceback__)]
    own = [place for place in frames if Path(place[0]).is_relative_to(home)]
    file, line = (own or frames)[-1]
    return AttemptError(
        f"function {name!r} raised {type(exc).__name__}: {exc} ({file}:{line})",
        kind=FailureKind.TASK_ERROR,
        details={"exception": type(exc).__name__, "at": f"{file}:{line}"},
    )


def _origin(module: str) -> str:
    """Return the file a loaded module came from; for a package its folder; `?` where there is none."""
    loaded = sys.modules.get(module)
    folders = list(getattr(loaded, "__path__", ()))
    return folders[0] if folders else getattr(loaded, "__file__", None) or "?"


def _refuse_shadowed(top: str, root: Path | None) -> None:
    """Refuse to run another module of the same name than the project's own."""
    if root is None or top not in sys.modules or Path(_origin(top)).parent == root:
        return
    own = next((file for file in (root / f"{top}.py", root / top / "__init__.py") if file.is_file()), None)
    if own is not None:
        raise AttemptError(
            f"the project's module {str(own)!r} cannot be loaded: another module {top!r} "
            f"({_origin(top)}) is loaded already; give the file another name",
            kind=FailureKind.UNAVAILABLE,
        )


def _forget(root: str) -> None:
    """Undo what loading functions did to the process."""
    with _import_lock:
        with suppress(ValueError):  # somebody else has removed it
            sys.path.remove(root)
        for name in list(sys.modules):
            if str(Path(_origin(name.partition(".")[0])).parent) == root:
                del sys.modules[name]

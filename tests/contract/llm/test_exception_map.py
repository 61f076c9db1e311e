"""Every exception class of every SDK and transport leaves as an error of ours, of a sensible kind."""

import asyncio
import inspect
import json
import socket
import ssl

import aiohttp
import aiohttp.client_exceptions
import aiohttp.http_exceptions
import anthropic
import httpx2
import openai
import pydantic
import pytest
from google.genai import errors as genai
from yarl import URL

from llm_abstractions.errors import FailureKind, LlmError
from llm_abstractions.providers.anthropic import AnthropicLlm
from llm_abstractions.providers.gemini import GeminiLlm
from llm_abstractions.providers.openai import OpenAILlm

REQUEST = httpx2.Request("POST", "http://x/")
INFO = aiohttp.RequestInfo(URL("http://x/"), "POST", {}, URL("http://x/"))
KEY = aiohttp.client_reqrep.ConnectionKey("x", 80, False, True, None, None, None)


def classes(root: type[BaseException], *packages: str) -> list[type[BaseException]]:
    """Return `root`'s subclasses that live in the packages, however deep."""
    found = {root} if root.__module__.startswith(packages) else set()
    for child in root.__subclasses__():
        found |= set(classes(child, *packages))
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


def build(cls: type[BaseException]) -> BaseException:
    """Make an instance the way its own package does, whichever of its forms fits."""
    status = getattr(cls, "status_code", None)
    status = status if isinstance(status, int) else 500 if "InternalServer" in cls.__name__ else 418
    response = httpx2.Response(status, request=REQUEST)
    forms = [
        lambda: cls("said", response=response, body={"error": {"message": "said", "type": "t"}}),
        lambda: cls(response=response, body=None, message="said"),
        lambda: cls(response=response, body=None),
        lambda: cls("said", REQUEST, body=None),
        lambda: cls(message="said", request=REQUEST),
        lambda: cls(request=REQUEST),
        lambda: cls(completion=openai.types.chat.ChatCompletion.construct()),
        lambda: cls("said", unsent_messages=[]),
        lambda: cls(503, {"error": {"message": "said", "status": "UNAVAILABLE"}}),
        lambda: cls(INFO, (), status=500, message="said"),
        lambda: cls(INFO, ()),
        lambda: cls(KEY, OSError(111, "refused")),
        lambda: cls("/socket", KEY, OSError(111, "refused")),
        lambda: cls("said", request=REQUEST, response=response),
        lambda: cls(b"a", b"b", "host", 443),
        lambda: cls(KEY, ssl.SSLCertVerificationError("bad")),
        lambda: cls("said", {"a": "b"}),
        lambda: cls(b"said", b"more", "x"),
        lambda: cls(b"said", "x", "y"),
        lambda: cls("said"),
        cls,
        lambda: cls(b"e", b"x", b"y"),
    ]
    for form in forms:
        try:
            exc = form()
            str(exc)
        except (TypeError, AttributeError, ValueError, KeyError, AssertionError):
            continue
        return exc
    # The SDKs' helpers for tools have forms of their own; what counts for those is only where they come from.
    assert ".lib." in cls.__module__, f"no form builds {cls}: {inspect.signature(cls)}"
    return cls.__new__(cls)


@pytest.fixture(params=[OpenAILlm, AnthropicLlm, GeminiLlm], ids=lambda llm: llm.vendor.name)
def llm(request):
    return request.param("m", api_key="k-0123456789")


def translated(llm, exc: BaseException) -> LlmError:
    with pytest.raises(LlmError) as caught, llm._own_errors():
        raise exc
    return caught.value


SDK_ROOTS = [
    (OpenAILlm, "openai", Exception),
    (AnthropicLlm, "anthropic", Exception),
    (GeminiLlm, "google.genai.errors", Exception),
]
SDK_CLASSES = [
    (llm, cls)
    for llm, package, root in SDK_ROOTS
    for cls in classes(root, package)
    if not issubclass(cls, Warning) and "_vendor" not in cls.__module__
]


@pytest.mark.parametrize(("llm_class", "cls"), SDK_CLASSES, ids=lambda x: f"{x.__module__}.{x.__name__}")
def test_every_sdk_exception_becomes_ours(llm_class, cls):
    error = translated(llm_class("m", api_key="k-0123456789"), build(cls))

    assert isinstance(error.kind, FailureKind)
    assert error.provider == llm_class.vendor.name


def test_the_walk_sees_the_classes_it_is_about():
    names = {cls.__name__ for _, cls in SDK_CLASSES}

    assert len(SDK_CLASSES) > 45
    assert {"OverloadedError", "APITimeoutError", "OAuthError", "ServerError", "UnknownApiResponseError"} <= names


STATUS_KINDS = [
    (openai.AuthenticationError, "auth"),
    (openai.PermissionDeniedError, "auth"),
    (openai.NotFoundError, "bad_request"),
    (openai.ConflictError, "overloaded"),
    (openai.RateLimitError, "rate_limit"),
    (openai.InternalServerError, "overloaded"),
    (openai.APITimeoutError, "timeout"),
    (openai.APIConnectionError, "connection"),
    (openai.APIResponseValidationError, "bad_output"),
    (openai.ContentFilterFinishReasonError, "refusal"),
    (openai.LengthFinishReasonError, "truncated"),
    (openai.OpenAIError, "bad_request"),
    (anthropic.AuthenticationError, "auth"),
    (anthropic.OverloadedError, "overloaded"),
    (anthropic.APITimeoutError, "timeout"),
    (anthropic.APIConnectionError, "connection"),
    (anthropic.CredentialsError, "auth"),
    (anthropic.RetryableError, "overloaded"),
    (anthropic.AnthropicError, "bad_request"),
    (genai.ServerError, "overloaded"),
    (genai.UnknownApiResponseError, "bad_output"),
    (genai.ContinuationInterruptedError, "connection"),
    (genai.FunctionInvocationError, "bad_request"),
]


@pytest.mark.parametrize(("cls", "kind"), STATUS_KINDS, ids=lambda x: getattr(x, "__name__", x))
def test_the_kind_of_an_sdk_exception_is_the_sensible_one(cls, kind):
    llm = next(llm for llm, package, _ in SDK_ROOTS if cls.__module__.startswith(package.partition(".")[0]))

    error = translated(llm("m", api_key="k-0123456789"), build(cls))

    assert error.kind == kind


TRANSPORT_CLASSES = [
    *classes(Exception, "httpx2"),
    *classes(Exception, "aiohttp.client_exceptions", "aiohttp.http_exceptions"),
]
# Not of this world: nobody opens a web socket here, and warnings are not failures.
TRANSPORT_CLASSES = [c for c in TRANSPORT_CLASSES if not issubclass(c, Warning) and "WSMessage" not in c.__name__]


@pytest.mark.parametrize("cls", TRANSPORT_CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_transport_exception_becomes_ours(llm, cls):
    assert translated(llm, build(cls)).kind in {
        FailureKind.CONNECTION,
        FailureKind.TIMEOUT,
        FailureKind.BAD_OUTPUT,
        FailureKind.BAD_REQUEST,
    }


class Shape(pydantic.BaseModel):
    size: int


def validation_error() -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as caught:
        Shape(size="x")
    return caught.value


OTHERS = [
    (TimeoutError(), "timeout"),
    (httpx2.ReadTimeout("slow", request=REQUEST), "timeout"),
    (aiohttp.ServerTimeoutError(), "timeout"),
    (aiohttp.ConnectionTimeoutError(), "timeout"),
    (httpx2.RemoteProtocolError("peer closed", request=REQUEST), "connection"),
    (httpx2.ReadError("gone", request=REQUEST), "connection"),
    (httpx2.StreamClosed(), "connection"),
    (aiohttp.ClientPayloadError("not completed"), "connection"),
    (aiohttp.ServerDisconnectedError(), "connection"),
    (ConnectionResetError(), "connection"),
    (socket.gaierror(-2, "Name or service not known"), "connection"),
    (ssl.SSLCertVerificationError("self-signed"), "connection"),
    (asyncio.IncompleteReadError(b"", 3), "connection"),
    (RuntimeError("Session is closed"), "connection"),
    (RuntimeError("Event loop is closed"), "connection"),
    (httpx2.UnsupportedProtocol("ftp", request=REQUEST), "bad_request"),
    (httpx2.InvalidURL("no"), "bad_request"),
    (aiohttp.InvalidURL("no"), "bad_request"),
    (json.JSONDecodeError("Expecting value", "<", 0), "bad_output"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "bad_output"),
    (validation_error(), "bad_output"),
    (httpx2.DecodingError("bad gzip", request=REQUEST), "bad_output"),
]


@pytest.mark.parametrize(("exc", "kind"), OTHERS, ids=lambda x: getattr(x, "__class__", x).__name__)
def test_what_transports_and_parsers_raise_has_a_sensible_kind(llm, exc, kind):
    error = translated(llm, exc)

    assert error.kind == kind
    assert error.__cause__ is exc


@pytest.mark.parametrize("module", [openai, anthropic], ids=lambda module: module.__name__)
def test_a_broken_connection_that_a_transport_calls_a_timeout_is_a_connection(module):
    llm = {"openai": OpenAILlm, "anthropic": AnthropicLlm}[module.__name__]("m", api_key="k-0123456789")
    misnamed = module.APITimeoutError(REQUEST)
    misnamed.__cause__ = httpx2.ConnectTimeout("write", request=REQUEST)
    misnamed.__cause__.__cause__ = aiohttp.ClientOSError(None, "Can not write request body")

    error = translated(llm, misnamed)

    assert error.kind == "connection"
    assert "Can not write request body" in str(error)


def test_cancellation_is_never_translated(llm):
    with pytest.raises(asyncio.CancelledError), llm._own_errors():
        raise asyncio.CancelledError


def test_our_own_errors_pass_unchanged(llm):
    error = LlmError.__new__(LlmError)

    with pytest.raises(LlmError) as caught, llm._own_errors():
        raise error

    assert caught.value is error

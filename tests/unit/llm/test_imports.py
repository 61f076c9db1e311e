"""Importing the package loads no SDK, reads no environment and starts nothing."""

import subprocess
import sys

import pytest

import llm_abstractions

SDKS = {"anthropic", "openai", "google", "aiohttp", "httpx2", "xllamacpp", "genai_prices", "pydantic"}


def modules_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import llm_abstractions",
        "from llm_abstractions import *",
        "import llm_abstractions.factory as f; f.LlmFactory.list_available_providers()",
        "from llm_abstractions import OpenAILlm; OpenAILlm(api_key='k')",
    ],
)
def test_no_sdk_is_loaded_before_the_first_call(code):
    loaded = {name.partition(".")[0] for name in modules_after(code)}

    assert loaded & (SDKS - {"google"}) == set()


def test_importing_the_package_alone_loads_none_of_its_modules():
    assert {name for name in modules_after("import llm_abstractions") if name.startswith("llm_abstractions.")} == set()


def test_importing_reads_no_environment():
    code = (
        "import os\n"
        "class Spy(dict):\n"
        "    def __getattribute__(self, name): raise AssertionError(name)\n"
        "import asyncio, dataclasses, email.utils, importlib.metadata, urllib.parse, secrets\n"
        "os.environ = os.environb = Spy()\n"
        "import llm_abstractions.factory, llm_abstractions.prices\n"
    )
    assert "llm_abstractions.factory" in modules_after(code)


@pytest.mark.parametrize("name", llm_abstractions.__all__)
def test_every_name_promised_is_there(name):
    assert getattr(llm_abstractions, name).__name__ == name


def test_a_name_not_promised_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'llm_abstractions' has no attribute 'Nope'"):
        _ = llm_abstractions.Nope
    assert "AnthropicLlm" in dir(llm_abstractions)

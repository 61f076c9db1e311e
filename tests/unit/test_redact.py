import pytest

from orchestration.redact import KEY_VARIABLES, known_secrets, redact


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", KEY_VARIABLES)
def test_the_standard_keys_are_secrets(monkeypatch, name):
    monkeypatch.setenv(name, "sk-123456789")

    assert known_secrets() == ("sk-123456789",)


def test_variables_named_by_agents_are_secrets_and_unset_ones_are_not(monkeypatch):
    monkeypatch.setenv("MY_KEY", "abcdefgh")

    assert known_secrets(["MY_KEY", "NOT_SET", None]) == ("abcdefgh",)


def test_values_too_short_to_be_secrets_are_left_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("GEMINI_API_KEY", "  none     ")

    assert known_secrets() == ()


def test_a_secret_that_begins_with_another_goes_as_a_whole(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-12345")
    monkeypatch.setenv("MY_KEY", "sk-12345-and-more")

    assert redact("key sk-12345-and-more, key sk-12345", known_secrets(["MY_KEY"])) == "key ***, key ***"


def test_secrets_are_found_at_any_depth_of_the_metadata():
    cleaned = redact({"a-SECRET1": ["x SECRET1", {"b": ("SECRET1", 3, None)}], "n": 1.5}, ("SECRET1",))

    assert cleaned == {"a-***": ["x ***", {"b": ["***", 3, None]}], "n": 1.5}


def test_without_secrets_the_very_same_value_comes_back():
    metadata = {"a": ["b"]}

    assert redact(metadata, ()) is metadata

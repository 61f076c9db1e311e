import pytest

from llm_abstractions.request import CallOptions, parse_request

USER = {"role": "user", "content": "Hi"}


def test_a_call_without_options_leaves_everything_to_the_provider():
    request = parse_request([USER], {})

    assert request.options == CallOptions()
    assert (request.system, request.turns) == (None, (USER,))


def test_none_for_an_option_is_the_same_as_leaving_it_out():
    assert parse_request([USER], {"max_tokens": None, "system": None, "stop": None}).options == CallOptions()


def test_system_texts_are_joined_in_order_behind_the_option():
    messages = [{"role": "system", "content": "b"}, USER, {"role": "system", "content": "c"}]

    assert parse_request(messages, {"system": "a"}).system == "a\n\nb\n\nc"


def test_a_blank_system_option_is_none():
    assert parse_request([USER], {"system": "  "}).system is None


def test_one_stop_string_or_several_become_a_tuple():
    assert parse_request([USER], {"stop": "END"}).options.stop == ("END",)
    assert parse_request([USER], {"stop": ["a", "b"]}).options.stop == ("a", "b")


BAD_MESSAGES = [
    ("Hi", TypeError, r"must be a list .* pass \[\{'role': 'user'"),
    (None, TypeError, "not NoneType"),
    (7, TypeError, "not int"),
    ([], ValueError, "no user message among its 0"),
    ([{"role": "system", "content": "x"}], ValueError, "no user message among its 1"),
    (["Hi"], TypeError, r"messages\[0\] must be .* not str"),
    ([USER, {"role": "robot", "content": "x"}], ValueError, r"messages\[1\] has role 'robot'; expected one of system"),
    ([{"content": "x"}], ValueError, "has role None"),
    ([{"role": "user"}], TypeError, "content of type NoneType"),
    ([{"role": "user", "content": ["x"]}], TypeError, "content of type list; expected text"),
    ([{"role": "user", "content": " \n"}], ValueError, r"messages\[0\] \(user\) is empty"),
    ([{"role": "user", "content": "x", "name": "Bo"}], ValueError, r"unknown keys \['name'\]"),
    ([{"role": "user", "content": "ab\ud800"}], ValueError, r"messages\[0\] holds half a character .* at position 2"),
]


@pytest.mark.parametrize(("messages", "error", "text"), BAD_MESSAGES)
def test_a_malformed_message_is_named_with_what_was_expected(messages, error, text):
    with pytest.raises(error, match=text):
        parse_request(messages, {})


BAD_OPTIONS = [
    ({"max_token": 5}, TypeError, r"unknown option 'max_token'; expected max_tokens, .*extras=\{"),
    ({"max_tokens": 0}, ValueError, "at least 1, not 0"),
    ({"max_tokens": "5"}, TypeError, "whole number, not '5'"),
    ({"max_tokens": True}, TypeError, "whole number, not True"),
    ({"temperature": 3}, ValueError, "between 0 and 2, not 3"),
    ({"temperature": float("nan")}, ValueError, "not nan"),
    ({"temperature": "hot"}, TypeError, "a number, not 'hot'"),
    ({"system": ["x"]}, TypeError, "system must be text, not list"),
    ({"json_schema": "x"}, TypeError, "JSON Schema as a dict, not str"),
    ({"json_schema": {"x": {1}}}, ValueError, "cannot be written as JSON"),
    ({"timeout_s": 0}, ValueError, "more than 0 seconds, not 0"),
    ({"timeout_s": False}, TypeError, "a number, not False"),
    ({"stop": [1]}, TypeError, "a string or a list of strings"),
    ({"stop": 1}, TypeError, "a string or a list of strings"),
    ({"stop": [""]}, ValueError, "may not hold an empty string"),
    ({"on_text": "print"}, TypeError, "must be callable"),
    ({"system": "\udfff"}, ValueError, "system holds half a character"),
    ({"extras": {"a": {1}}}, ValueError, "extras cannot be written as JSON"),
    ({"extras": [1]}, TypeError, "a dict of request fields, not list"),
    ({"extras": {"model": "x", "stream": True}}, ValueError, "may not replace model, stream"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD_OPTIONS)
def test_a_bad_option_is_named_with_what_was_expected(options, error, text):
    with pytest.raises(error, match=text):
        parse_request([USER], options)

"""Which variables a coding agent may see."""

from hypothesis import given
from hypothesis import strategies as st

from orchestration.runners.environment import environment

names = st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=12)


def test_what_programs_need_is_seen_and_keys_are_not():
    given_ = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "https_proxy": "p", "OPENAI_API_KEY": "k", "CLAUDECODE": "1"}

    seen = environment(given_, ())

    assert {"PATH", "HOME", "LC_ALL", "https_proxy"} <= set(seen)
    assert {"OPENAI_API_KEY", "CLAUDECODE"}.isdisjoint(seen)


def test_names_and_patterns_can_be_allowed():
    given_ = {"AWS_REGION": "eu", "AWS_PROFILE": "p", "AZURE": "x"}

    assert {"AWS_REGION", "AWS_PROFILE"} == set(environment(given_, ("AWS_*",))) & set(given_)
    assert set(environment(given_, ("AZURE",))) & set(given_) == {"AZURE"}


def test_what_is_set_goes_before_what_is_there():
    seen = environment({"TERM": "xterm", "PATH": "/bin"}, ("TERM",), {"PATH": "/other"}, {"X": "1"})

    assert (seen["TERM"], seen["PATH"], seen["X"]) == ("dumb", "/other", "1")


@given(st.dictionaries(names, st.text(max_size=5)), st.lists(names))
def test_nothing_is_seen_that_is_not_on_a_list(given_, allowed):
    everyone = set(environment(dict.fromkeys(given_, ""), ()))

    assert set(environment(given_, allowed)) <= everyone | set(allowed)

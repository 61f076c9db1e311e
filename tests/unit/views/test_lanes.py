"""What calls wait for, in words."""

import msgspec
import pytest

from orchestration.views.lanes import LaneNews, LaneView, ceiling_lines, lane_lines, waiting_lines

WAITING = LaneView(name="openai/gpt", waiting=12, reason="our limit of input tokens per minute", wait_s=12.0)


@pytest.mark.parametrize(
    ("lane", "says"),
    [
        (LaneView(name="x"), []),
        (LaneView(name="x", reason="a free place", wait_s=3.0), []),
        (WAITING, ["12 calls wait for lane openai/gpt: our limit of input tokens per minute, 12 s"]),
        (LaneView(name="x", waiting=1), ["1 call waits for lane x: a free place"]),
        (
            LaneView(name="x", is_open=False, reason="the provider's rate limit", wait_s=65),
            ["lane x waits for the provider's rate limit, 1 min 05 s"],
        ),
    ],
)
def test_who_waits_for_what_is_said_where_somebody_does(lane, says):
    assert waiting_lines([lane]) == says


def test_the_table_has_the_limits_and_what_is_left_of_the_providers():
    lanes = [
        LaneView(name="a", under_way=2, places=4, ceilings={"rpm": 50}, stated={"tpm": (30_000, 1_200)}),
        WAITING,
    ]
    lines = [line.plain for line in lane_lines(lanes)]
    assert lines[1].split() == ["a", "2", "of", "4", "rpm=50", "tpm", "1,200", "of", "30,000"]
    assert lines[2].endswith("  our limit of input tokens per minute, 12 s")
    assert "".join(line.plain for line in lane_lines(lanes, ascii_only=True)).isascii()


def test_limits_are_said_as_they_are_typed():
    lines = [line.plain for line in ceiling_lines({"anthropic": {"rpm": 50, "input_tpm": 9}, "*": {}})]
    assert lines == ["anthropic  rpm=50 input_tpm=9", "*          no limit"]


def test_a_lane_survives_the_way_to_another_process():
    lane = LaneView(name="a", ceilings={"rpm": 1}, stated={"rpm": (5, 2)}, wait_s=None)
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(lane)), LaneView) == lane


class TestNews:
    def test_are_told_once_for_as_long_as_somebody_waits(self):
        news = LaneNews()
        assert len(news.lines([WAITING])) == 1
        assert news.lines([WAITING]) == []
        other = msgspec.structs.replace(WAITING, reason="a free place")
        assert len(news.lines([other])) == 1
        assert news.lines([WAITING]) == []
        assert news.lines([LaneView(name=WAITING.name)]) == []
        assert len(news.lines([WAITING])) == 1

    def test_leave_out_a_short_wait(self):
        assert LaneNews().lines([msgspec.structs.replace(WAITING, wait_s=0.5)]) == []
        assert LaneNews().lines([msgspec.structs.replace(WAITING, wait_s=None)]) == []

    def test_leave_out_what_the_parked_tasks_say_themselves(self):
        assert LaneNews().lines([LaneView(name="x", is_open=False, reason="the provider to recover", wait_s=9)]) == []

    def test_tell_that_a_person_has_to_act(self):
        stopped = LaneView(name="x", is_open=False, is_stopped=True, reason="a person: the lane is stopped (quota)")
        assert LaneNews().lines([stopped]) == ["lane x waits for a person: the lane is stopped (quota)"]

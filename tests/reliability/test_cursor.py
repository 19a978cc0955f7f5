"""Cases 29 and 30: what an upstream may say of its cursor, and pages for people where data was due. The real souk and
the simulator; ClickHouse is not needed to see where the cursor stands."""

import json
import time

import pytest
import score
from stacks import ask, stack_of, until


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Asks five times a second where there is nothing new: an hour of empty pages at the usual pace is 3,600 of them."""
    more = {"sources": {"poe_ninja": {"enabled": False}, "psapi": {"period_s": 0.2}}, "limits": {"host_gap_ms": 20}}
    with stack_of(tmp_path_factory.mktemp("cursor"), more, start=False) as made:
        made.start_sim()
        made.start_souk(wait=False)
        until("first pages", 30, lambda: made.psapi()["pages"]["new"] > 2, lambda: made.tail("souk"))
        yield made


def pages(stack):
    return stack.psapi()["pages"]


def firing(stack, kind):
    return [a for a in stack.alerts(kind) if a["status"] == "firing"]


def at_rest(stack):
    """Freezes the simulator and waits until souk has its last page. @return the cursor."""
    stack.freeze()
    until("it is at the head", 30, lambda: stack.psapi()["state"] == "caught_up"
          and stack.psapi()["cursor"] == stack.simulator()["head"], lambda: json.dumps(stack.psapi()) + stack.tail("souk"))
    return stack.psapi()["cursor"]


@pytest.mark.case(29)
def test_empty_pages_are_asked_for_again_and_again(stack):
    with score.case(29, "empty pages, then on") as s:
        cursor, before = at_rest(stack), pages(stack)
        wanted = score.times(40, 3600)
        until("so many empty pages", 60 + wanted, lambda: pages(stack)["empty"] >= before["empty"] + wanted,
              lambda: json.dumps(stack.psapi()))
        assert stack.psapi()["cursor"] == cursor
        assert pages(stack) == before | {"empty": pages(stack)["empty"]}
        assert not firing(stack, "rewind")
        began = time.monotonic()
        stack.freeze(False)
        stack.goes_on(30)
        s.recovered(time.monotonic() - began)
        s.rows, s.seeds = wanted, 1
        assert stack.simulator()["violations"] == 0


@pytest.mark.case(29)
@pytest.mark.parametrize("fault", ["rewind", "repeat"])
def test_a_cursor_that_does_not_go_forward_is_refused(stack, fault):
    with score.case(29, f"the cursor: {fault}") as s:
        cursor = at_rest(stack)
        refused = pages(stack)[fault]
        stack.fault(fault, for_ms=3000)
        until("it is refused", 20, lambda: pages(stack)[fault] > refused, lambda: stack.tail("souk"))
        until("it is frozen, and says so", 20, lambda: stack.psapi()["state"] == "frozen" and firing(stack, "rewind"),
              lambda: json.dumps(stack.psapi()) + json.dumps(stack.alerts()))
        assert stack.psapi()["cursor"] == cursor
        stack.freeze(False)
        began = time.monotonic()
        stack.goes_on(40)
        s.recovered(time.monotonic() - began)
        until("the alert is over", 15, lambda: not firing(stack, "rewind"))
        s.seeds = 1
        assert stack.simulator()["violations"] == 0


@pytest.mark.case(30)
@pytest.mark.parametrize("fault", ["html200", "empty_object"])
def test_200_without_data_leaves_the_cursor(stack, fault):
    with score.case(30, f"200 with {fault}") as s:
        cursor, refused = at_rest(stack), pages(stack)["invalid"]
        stack.fault(fault, count=3)
        until("each is refused", 30, lambda: pages(stack)["invalid"] == refused + 3, lambda: stack.tail("souk"))
        assert stack.psapi()["cursor"] == cursor
        asked = json.loads(ask(stack.hub, "/api/v1/throttle"))["endpoints"]
        assert all(e["state"] != "disabled" for e in asked)
        stack.freeze(False)
        began = time.monotonic()
        stack.goes_on(30)
        s.recovered(time.monotonic() - began)
        s.rows, s.seeds = 3, 1
        assert stack.simulator()["violations"] == 0

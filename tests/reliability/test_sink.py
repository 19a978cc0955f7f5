"""Replies lost, late, partial and refused: cases 40 to 43, on one stack.

Each test lets inserts of all tables meet a fault while pages keep coming, then compares row by row. The
proxy's ledger shows that the fault has really come between commit and reply, and that what was sent
again carried the same token.
"""

import statistics
import time

import pytest
import score
from bench import bench_of
from stacks import until

ACK_TIMEOUT_S = 60  # ch-native gives up on a reply after that.
LATE_S = 10  # More than the five seconds that a connection is waited with, so that a retry overtakes its original.


@pytest.fixture(scope="module")
def overdue(tmp_path_factory):
    """A quiet stack of its own whose next reply is held for longer than the time-out, which takes a minute."""
    with bench_of(tmp_path_factory.mktemp("overdue"), sim=("--rate", "20")) as running:
        running.wait_for_rows(20)
        running.proxy.fault("hold_reply", table="stash", seconds=ACK_TIMEOUT_S + 5)
        yield running


@pytest.fixture(scope="module")
def bench(tmp_path_factory, overdue):
    # Small batches: more inserts, so more of them can be hurt.
    with bench_of(tmp_path_factory.mktemp("sink"), {"batch": {"age_ms": 200}}) as running:
        running.wait_for_rows(2000)
        yield running


def meet(bench, faults, seconds):
    """Waits until each of @faults was met as often as it was asked for. @return the seconds to recover from them."""
    until("all faults are met", seconds, lambda: all(f.met >= f.times for f in faults),
          lambda: str([(f.kind, f.met, f.times) for f in faults]) + bench.tail("souk"))
    bench.proxy.clear()
    return bench.fresh()


def same_token_again(bench, attempts):
    """Waits until each of @attempts was followed by one of the same token that was told its end: a table that
    is not audited may rest up to half a minute before it comes again."""
    def untold():
        told = {a.token for a in bench.proxy.seen() if a.client == "told"}
        return [a for a in attempts if a.token not in told]
    until("each comes again under its token", 90, lambda: not untold(), lambda: str(untold()) + bench.tail("souk"))


@pytest.mark.case(40)
def test_an_insert_whose_reply_is_lost_is_stored_once(bench):
    n = score.times(50, 10_000)
    with score.case(40, "connection reset between the commit and its reply") as s:
        fault = bench.proxy.fault("lose_reply", times=n, share=0.4)
        s.recovered(meet(bench, [fault], score.times(120, 4 * 3600)))
        bench.audited(s)
        hurt = bench.proxy.seen(fault="lose_reply")
        assert len(hurt) == n
        assert all(a.server == "committed" and a.token for a in hurt)
        same_token_again(bench, hurt)
        s.detail = f"{n} replies lost after the commit, {bench.proxy.again()} inserts came again under their token"


@pytest.mark.case(41)
def test_an_insert_that_arrives_after_its_own_retry_is_stored_once(bench):
    n = score.times(8, 500)
    with score.case(41, "data delivered after its own retry was stored") as s:
        fault = bench.proxy.fault("late_delivery", times=n, share=0.5, spare_retries=True, seconds=LATE_S)
        s.recovered(meet(bench, [fault], score.times(90, 3 * 3600)))
        late = until("the late ones are done", 60, lambda: [a for a in bench.proxy.seen(fault="late_delivery") if a.server][n - 1:]
                     and [a for a in bench.proxy.seen(fault="late_delivery") if a.server])
        told = {}
        for a in bench.proxy.seen():
            if a.client == "told":
                told.setdefault(a.token, a.done_at)
        overtaken = [a for a in late if told.get(a.token, a.done_at) < a.done_at]
        assert overtaken, "no retry overtook its original: this shows nothing"
        bench.audited(s)
        s.detail = f"{len(late)} late originals, {len(overtaken)} of them behind their own retry"


@pytest.mark.case(42)
def test_half_an_insert_is_stored_whole_or_not_at_all(bench):
    n = score.times(6, 1000)
    with score.case(42, "cut before the data, in the block, and half a block with an exception") as s:
        faults = [bench.proxy.fault(kind, times=n, share=0.3, code=210) for kind in
                  ("cut_in_block", "cut_before_data", "partial_error")]
        s.recovered(meet(bench, faults, score.times(120, 4 * 3600)))
        bench.audited(s)
        assert all(a.server != "committed" for a in bench.proxy.seen(fault="cut_in_block"))
        s.detail = f"{3 * n} inserts broken off"


CODES = {252: "TOO_MANY_PARTS", 241: "MEMORY_LIMIT_EXCEEDED", 202: "TOO_MANY_SIMULTANEOUS_QUERIES",
         159: "TIMEOUT_EXCEEDED", 1000: "POCO_EXCEPTION", 999: "KEEPER_EXCEPTION"}


@pytest.mark.case(43)
def test_a_server_without_room_is_asked_less_often_and_given_larger_batches(bench):
    n = score.times(2, 200)
    with score.case(43, f"exceptions: {', '.join(map(str, CODES))}") as s:
        faults = [bench.proxy.fault("exception", times=n, share=0.3, code=code, message=f"{name}: injected")
                  for code, name in CODES.items()]
        s.recovered(meet(bench, faults, score.times(120, 4 * 3600)))
        bench.audited(s)


@pytest.mark.case(43)
def test_a_real_excess_of_parts_drops_nothing(bench):
    seconds = score.times(6, 300)
    table = "bronze_public_stash"
    with score.case(43, f"the real TOO_MANY_PARTS for {seconds} s") as s:
        bench.wait_for_rows(4000)  # What waited at the start is through, in batches that say nothing.
        seen = len(bench.proxy.attempts)
        bench.wait_for_rows(4000)
        before = [a.rows for a in bench.proxy.attempts[seen:] if a.table == table and a.rows]
        seen = len(bench.proxy.attempts)
        bench.query(f"ALTER TABLE {table} MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1")
        begun = time.monotonic()
        try:
            until("the server refuses", 20, lambda: any(code == 252 for code, _ in bench.proxy.exceptions))
            time.sleep(seconds)
            refused = [a for a in bench.proxy.attempts[seen:] if a.server == "exception 252"]
        finally:
            bench.query(f"ALTER TABLE {table} RESET SETTING parts_to_throw_insert, parts_to_delay_insert")
        took = time.monotonic() - begun
        ended = time.monotonic()
        bench.wait_for_rows(2000)
        s.recovered(time.monotonic() - ended)
        def stored_since():  # What was sealed before the refusals stays as it is; what comes behind it is larger.
            rows = [a.rows for a in bench.proxy.attempts[seen:] if a.table == table and a.rows and a.server == "committed"]
            return len(rows) >= 4 and rows
        after = until("some inserts are told", 10, stored_since)
        # At least 200 ms, then 400 and so on, on each of two connections.
        assert len(refused) <= 8 + 2 * took, f"{len(refused)} refused inserts in {took:.0f} s"
        assert max(after) > 2 * statistics.median(before), (before, after)
        bench.audited(s)
        s.detail = (f"{len(refused)} inserts refused in {took:.0f} s; batches of {statistics.median(before):.0f} rows "
                    f"before, of {max(after)} after")


@pytest.mark.case(41)
def test_a_reply_that_comes_after_the_time_out_changes_nothing(overdue):
    """Last: the minute passed behind the tests above."""
    with score.case(41, "time-out, then late success") as s:
        held = until("the reply was waited for in vain", ACK_TIMEOUT_S + 60, lambda:
                     [a for a in overdue.proxy.seen(fault="hold_reply") if a.client], lambda: overdue.tail("souk"))[0]
        assert (held.server, held.client) == ("committed", "left"), held
        assert held.done_at - held.at >= ACK_TIMEOUT_S - 1
        s.recovered(overdue.fresh())
        overdue.audited(s)
        same_token_again(overdue, [held])
        s.detail = f"the reply to {held.rows} rows came after {held.done_at - held.at:.0f} s; they were sent again under the same token"

"""Case 39 on the real programs: ClickHouse goes away, comes back, and fresh pages go first.

The live lane jumps to the end of the log; the backlog is worked off beside it. In the middle of that
souk is killed, and ClickHouse goes away once more, so that the backlog has more than one range. At
the end the simulator's ledger and ClickHouse are compared row by row.
"""

import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import stacks  # noqa: E402
from stacks import ask, until  # noqa: E402

LAG_S = 20  # Of the decoder, which waits once the memory of the store is full: more than is caught up in a second.
# Fetches much faster than a real upstream allows, and jumps early: the test is short.
CONFIG = {"sources": {"psapi": {"period_s": 0.1, "rate_per_s": 10}},
          "batch": {"live_after_s": 3, "age_ms": 200}, "limits": {"host_gap_ms": 1}}
SIM = ("--rate", "2000", "--psapi-limits", "20:1:60")


def backlog(stack):
    return stack.status()["store"]["lanes"]["backlog"]["bytes"]


def clickhouse_away_until_behind(stack):
    stack.stop("clickhouse", seconds=60)
    stopped = time.monotonic()

    def behind():
        # After a restart the lag is that of the low-water mark at first: wait for some of this outage's own.
        return time.monotonic() - stopped > LAG_S and stack.status()["store"]["lanes"]["live"]["lag_s"] > LAG_S / 2
    until("decoding is behind", 180, behind, lambda: stack.tail("souk"))
    stack.start_clickhouse(schema=False)


def caught_up(stack):
    lanes = stack.status()["store"]["lanes"]
    return stack.psapi()["state"] == "caught_up" and not backlog(stack) and lanes["live"]["lag_s"] < 3


def test_fresh_pages_go_first_and_nothing_is_lost(tmp_path):
    with stacks.stack_of(tmp_path / "stack", CONFIG, sim_options=SIM) as stack:
        until("first rows", 30, lambda: stack.count("bronze_public_stash"))
        clickhouse_away_until_behind(stack)
        until("the live lane jumped", 60, lambda: stack.metric("souk_lane_jumps_total") >= 1,
              lambda: stack.tail("souk"))
        stack.stop("souk", sig=signal.SIGKILL)
        stack.start_souk()
        clickhouse_away_until_behind(stack)
        until("it jumped again", 60, lambda: stack.metric("souk_lane_jumps_total") >= 1, lambda: stack.tail("souk"))
        until("the live lane is at the end of the log", 60,
              lambda: stack.status()["store"]["lanes"]["live"]["lag_s"] < 3, lambda: stack.tail("souk"))
        ask(stack.sim, "/_sim/freeze", {"on": True})
        until("the backlog is worked off", 120, lambda: caught_up(stack), lambda: stack.tail("souk"))
        stack.assert_balance()
        assert stack.stop("souk") == 0  # What is decoded is stored on the way down.
        result = subprocess.run([stacks.SIM, "audit", "--ledger", stack.folder / "sim/ledger.tsv", "--clickhouse",
                                 f"http://127.0.0.1:{stack.http}", "--user", "souk", "--password-file", stack.password_file(),
                                 "--replaced"], capture_output=True, text=True)
        print(result.stdout, result.stderr)
        assert result.returncode == 0, result.stdout + result.stderr + stack.tail("souk")
        for table in ("bronze_public_stash", "bronze_requests", "bronze_ingest_checkpoints", "raw_public_stash_pages"):
            assert stack.query(f"SELECT count() - uniqExact(src, lsn, ord) FROM {table}") == "0", table

"""The wall clock jumps, was wrong from the start, and the process is stopped for a while: cases 51 and 52.

tests/lib/faultclock.c is preloaded into souk alone, and adds what the test writes into a file to the system's
wall clock. ClickHouse and the simulator keep the right time.
"""

import datetime
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import time

import pytest
import score
from bench import bench_of
from stacks import TOP, run_souk, until

HOUR, DAY = 3600, 86400
YEARS_10 = 3652 * DAY
# Of a table, the column that is stamped with our time, and how far a row may be from the truth.
STAMPS = {"bronze_public_stash": "ingested_at", "raw_public_stash_pages": "ingested_at", "bronze_requests": "ts",
          "bronze_poeninja_snapshot": "sample_time_utc", "bronze_ingest_checkpoints": "retrieved_at", "proc_logs": "ts"}


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    if (built := os.environ.get("SOUK_FAULTCLOCK")) and pathlib.Path(built).exists():
        return built
    out = tmp_path_factory.mktemp("shim") / "libfaultclock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", str(out), str(TOP / "tests/lib/faultclock.c"),
                    "-ldl"], check=True)
    return str(out)


class Clock:
    def __init__(self, folder):
        self.file = folder / "clock"
        self.file.write_bytes(struct.pack("=q", 0))

    def off(self, seconds):
        with open(self.file, "r+b") as out:  # In place: it is mapped.
            out.write(struct.pack("=q", int(seconds * 1e9)))


def clock_bench(folder, off_s=0):
    clock = Clock(folder)
    clock.off(off_s)
    return clock, bench_of(folder, start=False)


@pytest.fixture(scope="module")
def bench(tmp_path_factory, shim):
    folder = tmp_path_factory.mktemp("clock")
    clock, made = clock_bench(folder)
    with made as running:
        running.clock = clock
        running.souk_env = {"LD_PRELOAD": shim, "FAULTCLOCK": str(clock.file)}
        running.start_all("--rate", "300", "--page-changes", "150", "--psapi-limits", "20:1:60")
        running.wait_for_rows(1000)
        yield running
        clock.off(0)


def other_incidents(bench):
    """Alerts that say something other than that the clock is wrong."""
    return [a for a in bench.alerts() if a["class"] != "clock"]


def levels(bench):
    return {(s["name"], s["stream"]): s["level"] for s in bench.status()["sources"]}


def farthest_rows(bench):
    """By table, how far the stamp of a row is from ClickHouse's time, at most, in seconds, of rows from the test's run."""
    return {t: float(bench.query(f"SELECT max(abs(toUnixTimestamp64Milli(toDateTime64({c}, 3)) - "
                                 f"toUnixTimestamp64Milli(now64(3)))) / 1000 FROM {t}") or 0) for t, c in STAMPS.items()}


def assert_stamped_right(bench, since):
    ran_s = time.time() - since + 120
    far = farthest_rows(bench)
    assert all(s <= ran_s for s in far.values()), far


def log_times(bench):
    """What the lines of souk's log say when they were written, in seconds since 1970."""
    return [datetime.datetime.fromisoformat(t.replace("Z", "+00:00")).timestamp()
            for t in re.findall(r"(?m)^ts=(\S+) ", bench.log())]


@pytest.mark.case(51)
def test_a_jump_changes_nothing_but_what_is_said_of_the_clock(bench):
    since = time.time() - 120
    bench.fresh(60)
    with score.case(51, "the real process: wall clock -1 h, +1 h, +10 y and back") as s:
        for off in (HOUR, 0, -HOUR, 0, YEARS_10, 0):
            jumps, pages = bench.metric("souk_clock_jump_total"), bench.psapi()["pages"]["new"]
            bench.clock.off(off)
            until("the jump is counted", 30, lambda n=jumps: bench.metric("souk_clock_jump_total") == n + 1,
                  lambda: bench.tail("souk"))
            bench.goes_on()
            bench.wait_for_rows(300)
            until("status says it", 20, lambda o=off: (bench.status()["clock"]["follows"] == "system") == (o == 0),
                  lambda: json.dumps(bench.status()["clock"]))
            clock = bench.status()["clock"]
            assert abs(clock["correction_s"] + off) < 5, clock
            assert abs(bench.status()["now_ms"] / 1000 - time.time()) < 30
            assert other_incidents(bench) == [], other_incidents(bench)
            if off:
                until("an alert says it", 20, lambda: [a for a in bench.alerts("clock") if a["status"] == "firing"])
                shown = run_souk("status", config=bench.config_file).stdout
                assert "clock" in shown, shown
                assert bench.metric("souk_clock_correction_seconds") == pytest.approx(-off, abs=5)
                n_lines = len(log_times(bench))
                bench.processes["souk"].send_signal(signal.SIGHUP)  # Which it writes a line of.
                until("the log has a line", 20, lambda n=n_lines: len(log_times(bench)) > n)
                assert all(abs(t - time.time()) < 1800 for t in log_times(bench)[n_lines:]), bench.tail("souk", 5)
            else:
                until("the alert is over", 20, lambda: not [a for a in bench.alerts("clock") if a["status"] == "firing"])
            s.seeds += 1
            assert bench.psapi()["pages"]["new"] > pages
        assert bench.status()["store"]["mistimed_batches"] == 0
        bench.audited(s, replaced=True)
        assert_stamped_right(bench, since)
        s.detail = "rows stamped right throughout; daily sources only wait, by the same clock"


@pytest.mark.case(51)
def test_an_upstream_that_dies_is_seen_and_stays_seen_over_jumps(bench):
    bench.fresh(60)
    with score.case(51, "upstream dead while the wall clock jumps by an hour") as s:
        bench.processes["sim"].send_signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            bench.clock.off(-HOUR)  # By the wall clock its last answer is yet to come.
            until("psapi is no longer green", 45, lambda: bench.psapi()["level"] != "green", lambda: json.dumps(bench.psapi()))
            seen_s = time.monotonic() - begun
            until("an incident stands", 30, lambda: [a for a in bench.alerts("drift") if a["status"] == "firing"])
            for off in (HOUR, -HOUR, 0):
                bench.clock.off(off)
                time.sleep(4)  # Longer than an incident needs to end.
                assert bench.psapi()["level"] != "green"
                assert [a for a in bench.alerts("drift") if a["status"] == "firing"], bench.alerts("drift")
        finally:
            bench.clock.off(0)
            bench.processes["sim"].send_signal(signal.SIGCONT)
        begun = time.monotonic()
        bench.fresh(90)
        until("the incident is over", 60, lambda: not [a for a in bench.alerts("drift") if a["status"] == "firing"])
        s.detail = f"seen after {seen_s:.0f} s"
        bench.audited(s, replaced=True)


@pytest.mark.case(51)
@pytest.mark.parametrize("off,name", [(10 * DAY, "10 days ahead"), (-100 * DAY, "100 days behind"), (YEARS_10, "10 years ahead")])
def test_started_with_a_wrong_clock_rows_carry_the_right_time(tmp_path, shim, off, name):
    clock, made = clock_bench(tmp_path, off)
    with made as bench, score.case(51, f"started {name}") as s:
        bench.souk_env = {"LD_PRELOAD": shim, "FAULTCLOCK": str(clock.file)}
        since = time.time()
        bench.start_all("--rate", "300", "--page-changes", "150", "--psapi-limits", "20:1:60")
        bench.wait_for_rows(600)
        status = bench.status()
        assert status["clock"]["follows"] == "servers" and status["clock"]["witnesses"] >= 2, status["clock"]
        assert status["clock"]["skew_s"] == pytest.approx(-off, abs=5)
        assert status["store"]["mistimed_batches"] == 0, status["store"]["mistimed"]
        assert other_incidents(bench) == [], other_incidents(bench)
        bench.audited(s, replaced=True)
        verified = run_souk("verify", config=bench.config_file, seconds=60)
        assert verified.returncode == 0 and "equal" in verified.stdout, verified.stdout + verified.stderr
        clock.off(0)  # Mended while it runs.
        bench.freeze(False)
        until("the system's clock is followed", 30, lambda: bench.status()["clock"]["follows"] == "system")
        bench.goes_on()
        bench.audited(s, replaced=True)
        assert_stamped_right(bench, since)


@pytest.mark.case(52)
def test_stopped_for_a_while_it_goes_on_without_making_up(bench):
    bench.freeze(False)
    bench.fresh(60)
    stop_s = score.times(20, 60)
    with score.case(52, f"SIGSTOP for {stop_s} s") as s:
        souk = bench.processes["souk"]
        souk.send_signal(signal.SIGSTOP)
        try:
            time.sleep(stop_s)
        finally:
            before = sum(bench.simulator()["requests"].values())
            souk.send_signal(signal.SIGCONT)
        begun = time.monotonic()
        s.recovered(bench.fresh(60))
        took_s = max(time.monotonic() - begun, 1)
        asked = sum(bench.simulator()["requests"].values()) - before
        # Some 4 a second are made; those of the pause would be another 4 * stop_s at once.
        assert asked <= 8 * took_s + 30, f"{asked} requests in {took_s:.1f} s"
        assert bench.simulator()["violations"] == 0
        bench.audited(s, replaced=True)
        assert s.recovery_s <= 10
        s.detail = f"{asked} requests in the first {took_s:.1f} s"

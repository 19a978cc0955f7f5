"""The process killed, stopped, started twice and started all the time: cases 1, 9, 11 and 12."""

import contextlib
import os
import random
import re
import subprocess
import threading
import time

import pytest
import score
from bench import bench_of
from stacks import free_ports, run_souk, until

READY_S = 5.0


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with bench_of(tmp_path_factory.mktemp("process")) as running:
        running.wait_for_rows(2000)
        yield running


# 1


@contextlib.contextmanager
def clickhouse_killed_every(bench, seconds):
    """In a thread; yields the list of the times of its kills."""
    stop, kills = threading.Event(), []

    def run():
        while not stop.wait(seconds):
            bench.kill_engine()
            kills.append(time.monotonic())
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield kills
    finally:
        stop.set()
        thread.join()


@pytest.mark.case(1)
def test_kill_9_at_any_moment_loses_nothing(bench):
    seed = int(os.environ.get("SOUK_CRASH_SEED", random.randrange(1 << 30)))
    pick = random.Random(seed)
    print(f"seed {seed}")
    with score.case(1, f"the real process, ClickHouse killed every {score.times(4, 10)} s besides") as s:
        with clickhouse_killed_every(bench, score.times(4, 10)) as engine_kills:
            for _ in range(score.times(8, 200)):
                time.sleep(pick.uniform(0.05, 3.0))
                bench.kill_souk()
                s.kills += 1
                s.recovered(bench.restart_souk())
        s.kills += len(engine_kills)
        s.seeds = 1
        fresh_s = bench.fresh(60)
        bench.audited(s, replaced=True)
        assert s.recovery_s <= READY_S
        s.detail = f"{len(engine_kills)} of the kills hit ClickHouse; fresh {fresh_s:.1f} s after the last one"


# 9


def start_beside(bench, **changes):
    """A second souk with ports of its own. @return (exit code, stderr, seconds)."""
    other = bench.folder / "other.yaml"
    kept = bench.config_file.read_text()
    hub = bench.config["hub"]["port"]
    bench.configure({"hub": {"port": free_ports(1)[0]}} | changes)
    other.write_text(bench.config_file.read_text())
    bench.config["hub"]["port"], bench.config["state_dir"] = hub, str(bench.folder / "souk")
    bench.config_file.write_text(kept)
    begun = time.monotonic()
    done = run_souk("run", "--for", "5s", config=other)
    return done.returncode, done.stderr, time.monotonic() - begun


def last_line(text):
    return [line for line in text.splitlines() if line.startswith("souk: ")][-1]


@pytest.mark.case(9)
def test_a_second_instance_is_refused(bench):
    with score.case(9, "second instance on the same state") as s:
        code, text, took_s = start_beside(bench)
        assert code == 75, text
        assert took_s <= 1
        assert re.search(r"held by pid \d+", last_line(text)), text
        bench.wait_for_rows(100)  # The first one did not notice.
        s.detail = f"exit 75 after {took_s:.2f} s: {last_line(text)}"


@contextlib.contextmanager
def mounted(where, *options):
    """A tmpfs at @where; skips where that is not allowed."""
    where.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(where)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.case(9)
def test_a_store_that_cannot_be_written_is_refused(bench):
    with score.case(9, "read-only and missing store") as s:
        with mounted(bench.folder / "readonly", "-o", "ro"):
            for state in ("readonly", "readonly/souk", "nowhere/at/all"):
                code, text, took_s = start_beside(bench, state_dir=str(bench.folder / state))
                assert code == 73, f"{state}: exit {code}: {text}"
                assert took_s <= 1
                assert state in last_line(text), text
        s.detail = last_line(text).replace(str(bench.folder), "…")


# 11


@pytest.mark.case(11)
@pytest.mark.parametrize("sink", ["up", "down"])
def test_sigterm_under_load_ends_in_time_and_clean(bench, sink):
    with score.case(11, f"SIGTERM under load, ClickHouse {sink}") as s:
        bench.wait_for_rows(2000)
        if sink == "down":
            bench.proxy.refuse()
            time.sleep(2)
        begun = time.monotonic()
        code = bench.stop("souk", 15)
        took_s = time.monotonic() - begun
        assert code == 0, bench.tail("souk")
        assert took_s <= 10, f"it took {took_s:.1f} s"
        bench.proxy.accept()
        dump = run_souk("wal", "stat", config=bench.config_file)
        mark = len(bench.log())
        s.recovered(bench.restart_souk())
        said = bench.log()[mark:]
        assert not re.search(r"torn tail|set aside|damaged|cut short|are gone", said), said
        spool = bench.status()["spool"]
        assert (spool["torn_bytes"], spool["corrupt_bytes"]) == (0, 0)
        assert dump.returncode == 0 and "ended cleanly" in dump.stdout, dump.stdout + dump.stderr
        bench.audited(s, replaced=True)
        s.detail = f"exit 0 after {took_s:.2f} s"


# 12


@pytest.mark.case(12)
def test_restarts_never_break_a_limit(tmp_path):
    """Two windows, the longer one far below what a loop of fresh starts would ask."""
    n = score.times(10, 500)
    limits = ("--rate", "300", "--page-changes", "50", "--psapi-limits", "5:5:60,15:30:120")
    with bench_of(tmp_path / "limits", {"sources": {"psapi": {"hidden_bucket_ms": 0}, "poe_ninja": {"enabled": False}}},
                  sim=limits) as bench, score.case(12, "restarts once a second, by turns SIGKILL and SIGTERM") as s:
        bench.wait_for_rows(50)
        for i in range(n):
            time.sleep(0.7)
            if i % 2:
                bench.kill_souk()
                s.kills += 1
            else:
                assert bench.stop("souk", 15) == 0
            s.recovered(bench.restart_souk())
        status = bench.simulator()
        broken = bench.folder / "sim/violations.jsonl"
        assert status["violations"] == 0, broken.read_text()
        assert s.recovery_s <= READY_S
        until("pages come all the same", 60, lambda: bench.simulator()["pages_served"] > status["pages_served"])
        s.seeds, s.rows = 1, bench.rows()
        s.detail = f"{n} restarts, {status['requests']['public-stash-tabs']} requests, 0 violations"

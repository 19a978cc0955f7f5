"""The disk under the log fails, fills up and dawdles: cases 4, 5 and 10 on the real process.

tests/lib/faultdisk.c is preloaded into souk and does what a control file says. A file system that is
really full comes from a small tmpfs where one can be mounted.
"""

import contextlib
import os
import pathlib
import subprocess
import time

import pytest
import score
from bench import bench_of
from stacks import TOP, ask, until


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    if (built := os.environ.get("SOUK_FAULTDISK")) and pathlib.Path(built).exists():
        return built
    out = tmp_path_factory.mktemp("shim") / "libfaultdisk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-o", str(out),
                    str(TOP / "tests/lib/faultdisk.c"), "-ldl", "-lpthread"], check=True)
    return str(out)


class Disk:
    def __init__(self, folder):
        self.control = folder / "disk"

    def says(self, line):
        self.control.write_text(line + "\n")

    def done(self):
        with contextlib.suppress(OSError):
            return self.control.with_suffix(".log").read_text().splitlines()
        return []


@pytest.fixture(scope="module")
def bench(tmp_path_factory, shim):
    folder = tmp_path_factory.mktemp("disk")
    with bench_of(folder, start=False) as running:
        running.disk = Disk(folder)
        running.souk_env = {"LD_PRELOAD": shim, "FAULTDISK": str(running.disk.control)}
        running.start_all("--rate", "900", "--page-changes", "450", "--psapi-limits", "20:1:60")
        running.wait_for_rows(2000)
        yield running


@pytest.fixture
def disk(bench):
    yield bench.disk
    bench.disk.says("off")


def alive(bench):
    return bench.processes["souk"].poll() is None


# 4


@pytest.mark.case(4)
def test_a_sync_that_fails_once_costs_nothing(bench, disk):
    with score.case(4, "the real process: EIO of one sync") as s:
        before = len(disk.done())
        disk.says("eio 1")
        until("a sync has failed", 20, lambda: len(disk.done()) > before)
        failed = disk.done()[before].split(" ", 2)
        bench.wait_for_rows(2000)
        assert len(disk.done()) == before + 1
        assert alive(bench) and "segment rewritten" in bench.log(), bench.tail("souk")
        s.recovered(bench.fresh())
        bench.audited(s)
        s.detail = f"{failed[0]} of {pathlib.Path(failed[2]).name} failed; the segment was written anew"


@pytest.mark.case(4)
def test_a_second_failure_ends_with_74_and_the_next_start_is_clean(bench, disk):
    with score.case(4, "the real process: EIO again for the rewritten segment") as s:
        disk.says("eio 1000")
        until("souk has ended", 20, lambda: not alive(bench), lambda: bench.tail("souk"))
        code = bench.processes.pop("souk").wait()
        assert code == 74, f"exit {code}\n{bench.tail('souk')}"
        disk.says("off")
        s.recovered(bench.restart_souk())
        bench.wait_for_rows(2000)
        bench.audited(s, replaced=True)
        s.detail = "exit 74; nothing that was acknowledged is lost"


# 5


@pytest.mark.case(5)
def test_a_full_disk_pauses_the_intake_and_nothing_else(bench, disk):
    seconds = score.times(10, 600)
    with score.case(5, f"ENOSPC for {seconds} s, then freed") as s:
        if "souk" not in bench.processes:
            bench.restart_souk()
        before = len(disk.done())
        disk.says("full")
        until("a write has failed", 60, lambda: len(disk.done()) > before)
        begun = time.monotonic()
        until("the intake has paused", 5, lambda: bench.status()["spool"]["full"] or "disk is full" in bench.log())
        paused_s = time.monotonic() - begun
        assert paused_s < 1.5, f"paused after {paused_s:.1f} s"  # The status is read from outside, so a bit more than 1 s.
        served = None
        while time.monotonic() - begun < seconds:
            time.sleep(1)
            assert alive(bench), bench.tail("souk")
            now = bench.simulator()["pages_served"]
            if time.monotonic() - begun > 5:
                served = now if served is None else served
                assert now <= served + 1, "it asks on while it cannot write"
            assert ask(bench.hub, "/-/healthy") is not None
        disk.says("off")
        freed = time.monotonic()
        bench.wait_for_rows(500, 30)
        s.recovered(time.monotonic() - freed)
        bench.audited(s)
        assert s.recovery_s <= 10
        s.detail = f"intake paused after {paused_s:.2f} s"


@pytest.mark.case(5)
def test_a_file_system_that_is_really_full(tmp_path):
    """No shim, the kernel says ENOSPC: a tmpfs with room for one segment and not for the next, later enlarged."""
    from test_process import mounted
    seconds = score.times(5, 300)
    where = tmp_path / "souk"
    with mounted(where, "-o", "size=96m"), bench_of(tmp_path) as bench, \
            score.case(5, f"a tmpfs that is full from the start, room made after {seconds} s") as s:
        until("it is full", 20, lambda: "the disk is full" in bench.log(), lambda: bench.tail("souk"))
        time.sleep(seconds)
        assert alive(bench), bench.tail("souk")
        served = bench.simulator()["pages_served"]
        assert served <= 2, f"{served} pages were fetched that nothing can hold"
        subprocess.run(["mount", "-o", "remount,size=512m", str(where)], check=True)
        freed = time.monotonic()
        bench.wait_for_rows(500, 40)
        s.recovered(time.monotonic() - freed)
        bench.audited(s)
        assert s.recovery_s <= 10


# 10


@pytest.mark.case(10)
def test_a_slow_sync_stops_neither_the_loop_nor_the_alerts(bench, disk):
    seconds, sync_ms = score.times((15, 3000), (120, 5000))
    with score.case(10, f"each sync takes {sync_ms} ms for {seconds} s") as s:
        if "souk" not in bench.processes:
            bench.restart_souk()
        before, lags, slowest = len(disk.done()), [], 0.0
        disk.says(f"slow {sync_ms}")
        begun, alert_s = time.monotonic(), None
        bench.fault("rewind", count=1)  # Something to be alerted of while the log cannot be synced.
        while time.monotonic() - begun < seconds or (alert_s is None and time.monotonic() - begun < 60):
            if alert_s is None and bench.alerts("rewind"):
                alert_s = time.monotonic() - begun
            asked = time.monotonic()
            bench.status()
            slowest = max(slowest, time.monotonic() - asked)
            lags.append(bench.loop_p99())
            time.sleep(0.5)
        disk.says("off")
        assert len(disk.done()) - before >= seconds * 1000 // sync_ms // 2
        assert alert_s is not None and alert_s < 30, f"alerted after {alert_s} s"
        assert max(lags) < 0.05, f"loop lag p99 {max(lags):.3f} s"
        assert slowest < 0.5, f"the status took {slowest:.3f} s"
        bench.wait_for_rows(1000)
        s.recovered(bench.fresh())
        bench.audited(s)
        s.detail = (f"{len(disk.done()) - before} slow syncs, loop p99 at most {max(lags) * 1000:.1f} ms, "
                    f"status within {slowest * 1000:.0f} ms, alert {alert_s:.1f} s after its cause")

"""Case 53: souk with 64 descriptors, in 64 MiB, with a tenth of a processor. The limits are the kernel's: RLIMIT_NOFILE, and
control groups where the machine has them; else the resident memory is measured, and the process stopped and let go."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import threading
import time

import pytest
import score
from bench import bench_of
from stacks import SOUK, ask, until

MIB = 1 << 20
GROUPS = pathlib.Path("/sys/fs/cgroup")
# What a machine so small is given: little memory for the tape, small batches, small answers.
SMALL = {"tape": {"memory_mib": 16}, "batch": {"bytes_mib": 1, "rows": 5000}, "limits": {"body_mib": 4}}
SLOW = ("--rate", "60", "--page-changes", "60", "--psapi-limits", "20:1:60")


def stop_souk(bench):
    if "souk" in bench.processes:
        bench.stop("souk")


@contextlib.contextmanager
def group(bench, controller, **values):
    """A control group of version 1 or 2 with @values (file: text), for @bench's souk, which is stopped with it: one that
    is not empty stays. @return its folder, or None when there can be none."""
    folder = GROUPS / controller if (GROUPS / controller).is_dir() else GROUPS
    made = folder / f"souk-{controller}-{os.getpid()}"
    try:
        made.mkdir()
    except OSError:
        yield None
        return
    try:
        if not all((made / name).exists() for name in values):
            yield None
            return
        for name, text in values.items():
            (made / name).write_text(text)
        yield made
    finally:
        stop_souk(bench)
        made.rmdir()


def start_limited(bench, groups=(), descriptors=None):
    """souk in @groups from its first instruction on."""
    joined = "".join(f"echo $$ > {g}/cgroup.procs && " for g in groups)
    limit = f"ulimit -n {descriptors} && " if descriptors else ""
    bench.start("souk", "sh", "-c", f"{joined}{limit}exec {SOUK} --config {bench.config_file} run")


def n_asked(bench):
    return sum(bench.simulator()["requests"].values())


def memory(bench, what):
    text = pathlib.Path(f"/proc/{bench.processes['souk'].pid}/status").read_text()
    return int(text.split(what + ":")[1].split()[0]) * 1024


@pytest.fixture
def bench(narrow):
    yield narrow
    stop_souk(narrow)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    with bench_of(tmp_path_factory.mktemp("narrow"), SMALL, start=False) as running:
        running.start_clickhouse()
        running.start_sim(*SLOW)
        yield running


def ends_well(bench, s):
    assert bench.processes["souk"].poll() is None, bench.tail("souk")
    s.recovered(bench.fresh(60))
    bench.audited(s, replaced=True)


@pytest.mark.case(53)
def test_with_64_descriptors_clients_are_refused_and_rows_flow(bench):
    with score.case(53, "64 descriptors, 200 clients") as s:
        start_limited(bench, descriptors=64)
        bench.fresh(60)
        bench.wait_for_rows(200)
        with contextlib.ExitStack() as held:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    held.enter_context(socket.create_connection(("127.0.0.1", bench.hub), timeout=5))
            before = bench.rows()
            asked = n_asked(bench)
            until("the upstream is still asked", 60, lambda: n_asked(bench) > asked + 10)
            until("rows are still stored", 60, lambda: bench.rows() > before + 200)
        until("clients are answered again", 60, lambda: ask(bench.hub, "/-/ready"))
        n_open = len(os.listdir(f"/proc/{bench.processes['souk'].pid}/fd"))
        assert n_open <= 64
        assert sum(float(n) for n in re.findall(r"(?m)^souk_hub_refused_total\{.*\} (\S+)$", ask(bench.hub, "/metrics"))) > 0
        s.detail = f"{n_open} descriptors"
        ends_well(bench, s)


@pytest.mark.case(53)
def test_in_64_mib_it_runs_without_being_killed(bench):
    with score.case(53, "64 MiB of memory") as s, \
            group(bench, "memory", **{"memory.limit_in_bytes": str(64 * MIB)}) as v1, \
            group(bench, "memory", **{"memory.max": str(64 * MIB)}) if v1 is None else contextlib.nullcontext() as v2:
        made = v1 or v2
        start_limited(bench, [made] if made else [])
        bench.fresh(60)
        bench.wait_for_rows(score.times(2000, 200000), seconds=score.times(120, 3600))
        peak = memory(bench, "VmHWM")
        assert made or peak < 64 * MIB, f"{peak / MIB:.1f} MiB"
        s.detail = f"{peak / MIB:.1f} MiB at most, " + ("in a control group" if made else "measured: no control group here")
        ends_well(bench, s)


def duty_cycle(process, stop):
    """A tenth of the time: 10 ms in 100."""
    while not stop.is_set() and process.poll() is None:
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.09)
    process.send_signal(signal.SIGCONT)


@pytest.mark.case(53)
def test_with_a_tenth_of_a_processor_it_keeps_up_or_falls_behind(bench):
    with score.case(53, "a tenth of a processor") as s, \
            group(bench, "cpu", **{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "10000"}) as v1, \
            group(bench, "cpu", **{"cpu.max": "10000 100000"}) if v1 is None else contextlib.nullcontext() as v2:
        made = v1 or v2
        start_limited(bench, [made] if made else [])
        stop = threading.Event()
        thread = threading.Thread(target=duty_cycle, args=(bench.processes["souk"], stop))
        if not made:
            thread.start()
        try:
            bench.wait_for_rows(score.times(500, 20000), seconds=score.times(180, 3600))
        finally:
            stop.set()
            if made:
                (made / ("cpu.cfs_quota_us" if v1 else "cpu.max")).write_text("-1" if v1 else "max")
            else:
                thread.join()
        s.detail = "in a control group" if made else "stopped and let go: no control group here"
        ends_well(bench, s)

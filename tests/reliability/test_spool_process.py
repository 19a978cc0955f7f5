"""Cases 4 and 9 on the real process: a disk that stops syncing, a store that cannot be made or is held.

No upstream and no ClickHouse are needed: requests that fail are records of the log too.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import score
from stacks import free_ports

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SOUK_BUILD", TOP / "build" / "release"))
SOUK = BUILD / "src/cli/souk"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

pytestmark = pytest.mark.skipif(not SOUK.exists(), reason=f"{SOUK} is not built")


def passed(case, what, seconds, kills=0):
    score.Score(case, what, passed=True, kills=kills, seeds=1, recovery_s=seconds).write()


def environment():
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CH_", "POE_", "SOUK_"))}
    return kept | {"NO_PROXY": "*", "ASAN_OPTIONS": "detect_leaks=0", "UV_THREADPOOL_SIZE": "1"}


def make_config(folder, state_dir=None):
    nobody, hub, native = free_ports(3)
    url = f"http://127.0.0.1:{nobody}"  # Nobody answers there.
    path = folder / "souk.yaml"
    path.write_text(json.dumps({
        "state_dir": str(state_dir or folder / "state"),
        "clickhouse": {"host": "127.0.0.1", "port": native},
        "hub": {"host": "127.0.0.1", "port": hub, "open_to_local": True},
        "sources": {"psapi": {"base_url": url, "seed_url": url, "start": "oldest", "period_s": 0.5,
                              "hidden_bucket_ms": 1},
                    "poe_ninja": {"base_url": url, "leagues": ["Standard"], "kinds": ["exchange/Currency"]}},
    }))
    return path, hub


def run_souk(config, *before, seconds=30):
    start = time.monotonic()
    done = subprocess.run([*before, str(SOUK), "--config", str(config), "run", "--for", "20s"], capture_output=True,
                          text=True, timeout=seconds, env=environment(), stdin=subprocess.DEVNULL)
    return done, time.monotonic() - start


def wait_ready(hub):
    for _ in range(200):
        try:
            with OPENER.open(f"http://127.0.0.1:{hub}/-/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail("souk is not ready after 10 s")


def test_second_souk_is_told_who_holds_the_spool(tmp_path):
    config, hub = make_config(tmp_path)
    first = subprocess.Popen([str(SOUK), "--config", str(config), "run"], env=environment(), stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        wait_ready(hub)
        done, seconds = run_souk(config)
        assert done.returncode == 75, done.stderr
        assert f"is held by pid {first.pid}" in done.stderr
        assert len(done.stderr.strip().splitlines()[-1]) < 200
        repair = subprocess.run([str(SOUK), "--config", str(config), "wal", "repair", "--yes"], capture_output=True,
                                text=True, env=environment())
        assert repair.returncode == 75, repair.stderr
        assert seconds < 5  # Sanitizers and a busy machine; see the score for the figure.
        passed(9, "second instance on the same state", seconds)
    finally:
        first.terminate()
        first.wait(20)


@pytest.mark.parametrize("state_dir", ["/proc/none", "/sys/souk"])
def test_a_store_that_cannot_be_made_ends_with_73(tmp_path, state_dir):
    config, _ = make_config(tmp_path, state_dir)
    done, seconds = run_souk(config)
    assert done.returncode == 73, done.stderr
    assert state_dir in done.stderr
    assert seconds < 5
    passed(9, "no place for the store", seconds)


def test_a_file_in_place_of_the_store_ends_with_73(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "spool").write_text("not a folder")
    config, _ = make_config(tmp_path)
    done, seconds = run_souk(config)
    assert done.returncode == 73, done.stderr
    assert "spool" in done.stderr
    passed(9, "a file in place of the store", seconds)


def test_a_disk_that_stops_syncing_ends_with_74_and_restarts_clean(tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace, which lets system calls fail, is not installed")
    config, hub = make_config(tmp_path)
    trace = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=fdatasync", "-e",
             "inject=fdatasync:error=EIO:when=4+"]  # strace counts by thread.
    try:
        done, _ = run_souk(config, *trace, seconds=60)
    except subprocess.TimeoutExpired:
        pytest.fail("souk neither ended nor said why")
    if "strace:" in done.stderr and done.returncode == 1:
        pytest.skip("strace may not trace here")
    assert done.returncode == 74, done.stderr[-2000:]
    assert "failed to write twice in a row" in done.stderr
    n_failed = len(re.findall(r"EIO", (tmp_path / "trace").read_text()))
    assert n_failed >= 2
    start = time.monotonic()
    again = subprocess.Popen([str(SOUK), "--config", str(config), "run"], env=environment(), stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    wait_ready(hub)
    seconds = time.monotonic() - start
    again.terminate()
    assert again.wait(20) == 0
    verify = subprocess.run([str(SOUK), "--config", str(config), "wal", "verify"], capture_output=True, text=True,
                            env=environment())
    assert verify.returncode == 0, verify.stdout
    passed(4, "syncs fail for good on the real process: exit 74, then a clean start", seconds, kills=1)


def test_a_disk_without_room_for_a_segment_is_told_and_does_not_keep_souk_from_ending(tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace, which lets system calls fail, is not installed")
    config, hub = make_config(tmp_path)
    trace = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=fallocate", "-e",
             "inject=fallocate:error=ENOSPC"]
    with open(tmp_path / "log", "w") as log:
        tracer = subprocess.Popen([*trace, str(SOUK), "--config", str(config), "run"], env=environment(),
                                  stdin=subprocess.DEVNULL, stderr=log)
    try:
        answer = ""
        for _ in range(600):  # Its patience is 8 s, and that of alerts 10; the rest is for a busy machine.
            assert tracer.poll() is None, (tmp_path / "log").read_text()[-2000:]
            try:
                with OPENER.open(f"http://127.0.0.1:{hub}/api/v1/alerts?status=firing", timeout=2) as r:
                    answer = r.read().decode()
            except OSError:
                pass
            if "The disk has taken nothing" in answer:
                break
            time.sleep(0.1)
        assert "The disk has taken nothing" in answer, answer
        with pytest.raises(urllib.error.HTTPError) as refused:
            OPENER.open(f"http://127.0.0.1:{hub}/-/ready", timeout=5)
        assert refused.value.code == 503
        children = pathlib.Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert tracer.wait(60) == 74, (tmp_path / "log").read_text()[-2000:]
        assert "the disk takes nothing; ending" in (tmp_path / "log").read_text()
    finally:
        if tracer.poll() is None:
            for child in pathlib.Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            tracer.wait(20)


def test_a_limit_on_the_size_of_files_is_an_error_and_no_silent_death(tmp_path):
    config, _ = make_config(tmp_path)
    done, _ = run_souk(config, "prlimit", "--fsize=1048576")
    assert done.returncode == 74, done.stderr[-2000:]
    assert "failed to write twice in a row" in done.stderr

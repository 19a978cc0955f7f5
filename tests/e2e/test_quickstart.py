"""deploy/quickstart as somebody runs it who reads the README word by word."""

import fcntl
import re
import shlex
import subprocess

import pytest
from conftest import TOP
from ports import free_ports


def quickstart(*options, seconds=900):
    return subprocess.run([TOP / "deploy/quickstart", "--no-install", *options], capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("seconds", ["0", "00", "-1", "1.5", "soon", "12345678"])
def test_a_time_that_is_none_is_refused(tmp_path, seconds):
    done = quickstart("--for", seconds, "--state", tmp_path / "state")
    assert done.returncode == 2
    assert f"--for {seconds}: wanted a number of seconds" in done.stderr
    assert not (tmp_path / "state").exists()


def test_who_holds_the_state_is_said_from_the_first_moment_on(tmp_path):
    with open(tmp_path / "quickstart.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = quickstart("--state", tmp_path)
        assert done.returncode == 1
        assert re.search(r"another quickstart runs on \S+: it has only just begun", done.stderr), done.stderr


def test_recorded_bodies_are_served_and_their_bad_rows_are_no_loss(tmp_path):
    """Those of tests/data have rows that are refused on purpose."""
    state = tmp_path / "my state"
    done = quickstart("--replay", TOP / "tests/data", "--for", "10", "--state", state, "--port-base", str(free_ports(4, neighbours=True)[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost, 0 twice, 0 unknown" in done.stdout
    assert re.search(r"(?m)^  bronze_quarantine +[1-9]", done.stdout), done.stdout
    served = next(line for line in done.stdout.splitlines() if line.startswith("  simulator"))
    recorded, off = re.fullmatch(r".*/tests/data: (.*); off: (.*); on port \d+", served).groups()
    assert off.split() == ["account_stashes", "currency_exchange", "leagues"]
    assert [word for word in recorded.split() if "_" in word or word == "psapi"] == ["psapi", "poe_ninja", "trade_data"]
    # What is printed can be pasted into a shell.
    line = next(line for line in done.stdout.splitlines() if line.startswith("  status "))
    assert shlex.split(line)[2:4] == ["--config", str(state / "souk.yaml")]
    line = next(line for line in done.stdout.splitlines() if "clickhouse-client" in line)
    assert str(state / "clickhouse/client.xml") in shlex.split(line.split("  (")[0])
    line = next(line for line in done.stdout.splitlines() if "curl --user" in line)
    shown = subprocess.run(["bash", "-c", "echo " + line.strip().removeprefix("curl ").removesuffix(", or")], capture_output=True, text=True)
    assert f"souk:{(state / 'clickhouse/password').read_text().strip()} " in shown.stdout

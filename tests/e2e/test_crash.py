"""kill -9 of souk ten times and of ClickHouse twice while pages arrive: nothing lost, nothing twice.

The real programs on real disks. The moments are random; the seed is printed, and SOUK_CRASH_SEED
repeats them as far as a real machine can. The simulator's ledger says what was sent, ClickHouse what
was stored, and souk-sim audit compares the two row by row.
"""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time
import urllib.request

import pytest
import stacks

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SOUK_BUILD", TOP / "build" / "release"))
SOUK = BUILD / "src/cli/souk"
SIM = BUILD / "src/sim/souk-sim"
CLICKHOUSE = BUILD / "src/clickhouse/souk-clickhouse"
KILLS_OF_SOUK = int(os.environ.get("SOUK_CRASH_KILLS", "10"))


def ask(port, path, body=None):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=stacks.LOGINS.get(port, {}))
    with opener.open(request, timeout=10) as answer:
        return answer.read().decode()


def until(what, seconds, fn):
    """Waits for @fn to return something true, and fails with @what after @seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = fn()
            if value:
                return value
        except (OSError, ValueError, KeyError):
            pass
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s for: {what}")
        time.sleep(0.05)


class Stack:
    def __init__(self, folder):
        self.folder = folder
        self.hub, self.native, self.http, self.sim = stacks.free_ports(4)
        self.processes = {}
        self.logs = {}
        subprocess.run(["python3", str(TOP / "deploy/lib/stack.py"),
                        "config", str(TOP / "deploy/souk.yaml"), str(folder / "souk.yaml"),
                        f"SOUK_STATE_DIR={folder}/souk", f"SOUK_HUB_PORT={self.hub}", "hub.open_to_local=true", "SOUK_CLICKHOUSE_HOST=127.0.0.1",
                        f"SOUK_CLICKHOUSE_PORT={self.native}", "SOUK_CLICKHOUSE_USER=souk",
                        f"SOUK_CLICKHOUSE_PASSWORD_FILE={folder}/clickhouse/password", "SOUK_LIVE=false", "SOUK_PSAPI_START=oldest", f"SOUK_PSAPI_URL=http://127.0.0.1:{self.sim}",
                        f"SOUK_PSAPI_SEED_URL=http://127.0.0.1:{self.sim}",
                        f"SOUK_NINJA_URL=http://127.0.0.1:{self.sim}",
                        *(f"sources.{name}.enabled=false"
                          for name in ("account_stashes", "currency_exchange", "leagues", "trade_data"))], check=True)

    def start(self, name, *command):
        log = open(self.folder / f"{name}.log", "ab")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("CH_", "POE_"))}
        self.processes[name] = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=log, env=env, start_new_session=True)

    def start_souk(self):
        self.start("souk", SOUK, "--config", self.folder / "souk.yaml", "run")

    def start_all(self):
        self.start("clickhouse", CLICKHOUSE, "--path", self.folder / "clickhouse", "--tcp-port", self.native,
                   "--http-port", self.http)
        self.start("sim", SIM, "--port", self.sim, "--state", self.folder / "sim", "--rate", "200", "--quiet",
                   "--psapi-limits", "10:1:60", "--hidden-bucket-ms", "0", "--ninja-rebuild", "5")
        until("ClickHouse answers", 60, lambda: ask(self.http, "/ping") and stacks.listens(self.native))
        password = (self.folder / "clickhouse/password").read_text().strip()
        stacks.LOGINS[self.http] = {"X-ClickHouse-User": "souk", "X-ClickHouse-Key": password}
        until("the simulator answers", 10, lambda: ask(self.sim, "/_sim/status"))
        subprocess.run([SOUK, "--config", self.folder / "souk.yaml", "schema", "apply", "--yes"], check=True,
                       capture_output=True)
        self.start_souk()

    def kill_souk(self):
        self.processes["souk"].send_signal(signal.SIGKILL)
        self.processes["souk"].wait()

    def kill_engine(self):
        """The launcher's child is the engine; the launcher starts it again."""
        pid = self.processes["clickhouse"].pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert children, "the launcher has no child"
        os.kill(int(children[0]), signal.SIGKILL)

    def status(self):
        return json.loads(ask(self.hub, "/api/v1/status"))

    def count(self, sql):
        return ask(self.http, "/", sql.encode()).strip()

    def stop(self):
        for name in ("souk", "sim", "clickhouse"):
            p = self.processes.get(name)
            if p is None or p.poll() is not None:
                continue
            p.terminate()
            try:
                p.wait(25)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def tail(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]


@pytest.fixture
def stack(tmp_path):
    for program in (SOUK, SIM, CLICKHOUSE):
        if not program.exists():
            pytest.fail(f"{program} is not built")
    s = Stack(tmp_path)
    try:
        s.start_all()
        yield s
    finally:
        s.stop()


def drained(page):
    return (not page["spool"]["pages_waiting"] and not page["store"]["outstanding"]
            and not any(t["open_rows"] for t in page["store"]["tables"])
            and all(x["state"] in ("caught_up", "off") for x in page["sources"] if x["name"] == "psapi"))


def audit(stack):
    return subprocess.run([SIM, "audit", "--ledger", stack.folder / "sim/ledger.tsv", "--clickhouse",
                           f"http://127.0.0.1:{stack.http}", "--user", "souk", "--password-file", stack.folder / "clickhouse/password",
                           "--replaced"], capture_output=True, text=True)


def test_nothing_is_lost_and_nothing_comes_twice(stack):
    seed = int(os.environ.get("SOUK_CRASH_SEED", random.randrange(1 << 30)))
    pick = random.Random(seed)
    print(f"seed {seed}")
    until("first rows", 30, lambda: int(stack.count("SELECT count() FROM poe_trade.bronze_public_stash")))
    engine_kills = set(pick.sample(range(KILLS_OF_SOUK), 2))
    recoveries = []
    for i in range(KILLS_OF_SOUK):
        time.sleep(pick.uniform(0.2, 3.0))
        if i in engine_kills:
            stack.kill_engine()
            time.sleep(pick.uniform(0, 0.5))
        stack.kill_souk()
        begun = time.monotonic()
        stack.start_souk()
        until(f"ready after kill {i}", 10, lambda: ask(stack.hub, "/-/ready"))
        recoveries.append(time.monotonic() - begun)
    ask(stack.sim, "/_sim/freeze", b'{"on":true}')
    # Each look sends what is gathered: rows about souk itself come all the time, and would wait for their age.
    until("all is stored", 60, lambda: ask(stack.hub, "/api/v1/flush", b"{}") and drained(stack.status()))
    result = audit(stack)
    rows = stack.count("SELECT count() FROM poe_trade.bronze_public_stash")
    print(f"{KILLS_OF_SOUK} kills of souk, 2 of ClickHouse, {rows} rows, ready again within "
          f"{max(recoveries):.2f} s\n{result.stdout}{result.stderr}")
    assert result.returncode == 0, result.stdout + result.stderr + stack.tail("souk")
    assert int(rows) > 1000
    twice = stack.count("SELECT count() FROM (SELECT src, lsn, ord FROM poe_trade.bronze_public_stash "
                        "GROUP BY src, lsn, ord HAVING count() > 1)")
    assert twice == "0"
    for table in ("bronze_requests", "proc_logs", "bronze_ingest_checkpoints", "bronze_poeninja_snapshot", "raw_public_stash_pages"):
        twice = stack.count(f"SELECT count() - uniqExact(src, lsn, ord) FROM poe_trade.{table}")
        assert twice == "0", table
    # Readers never see a cursor ahead of its rows, so each page's checkpoint is there, and its rows are.
    missing = stack.count("SELECT sum(rows) - (SELECT count() FROM poe_trade.bronze_public_stash) - "
                          "(SELECT count() FROM poe_trade.raw_public_stash_pages) - "
                          "(SELECT count() FROM poe_trade.bronze_quarantine WHERE source = 'psapi') "
                          "FROM poe_trade.bronze_ingest_checkpoints WHERE service = 'psapi' AND status = 'ok'")
    assert missing == "0"
    violations = json.loads(ask(stack.sim, "/_sim/status"))["violations"]
    assert violations == 0, f"{violations} violations of rate limits"
    assert re.search(r"^0 lost, 0 twice", result.stdout, re.M)

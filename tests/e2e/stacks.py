"""ClickHouse, the simulator and souk as processes of one test, each to be started, stopped and hurt alone.

conftest.py starts the stack as users do; here the parts are held singly, with a configuration of the
test's own. It is written as JSON, which YAML includes.
"""

import contextlib
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/lib"))

import sampler  # noqa: E402
from ports import free_ports  # noqa: E402

BUILD = pathlib.Path(os.environ.get("SOUK_BUILD", TOP / "build" / "release"))
SOUK = BUILD / "src/cli/souk"
SIM = BUILD / "src/sim/souk-sim"
CLICKHOUSE = BUILD / "src/clickhouse/souk-clickhouse"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
DATABASE = "poe_trade"
LOGINS = {}  # Headers for the ports that want them.


def ask(port, path, body=None, method=None):
    """The body of an answer from 127.0.0.1; an HTTP error raises with what the server said."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, method=method, headers=LOGINS.get(port, {}))
    try:
        with OPENER.open(request, timeout=15) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        raise OSError(f"{path}: {error.code}: {error.read().decode(errors='replace')[:500]}") from error


def listens(port):
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=5)):
        return True


def until(what, seconds, fn, tell=lambda: ""):
    """Waits for @fn to return something true, and fails with @what and @tell() after @seconds."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            if value := fn():
                return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s for: {what}\n{tell()}", pytrace=False)
        time.sleep(0.05)


def environment(**more):
    """Ours without what would override a configuration."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CH_", "POE_", "SOUK_"))}
    if "SOUK_LIBCHDB" in os.environ:
        kept["SOUK_LIBCHDB"] = os.environ["SOUK_LIBCHDB"]
    return kept | more


def merge(into, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
    return into


def run_souk(*arguments, config=None, seconds=20):
    command = [SOUK] + (["--config", config] if config else []) + list(arguments)
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=seconds, env=environment(),
                          stdin=subprocess.DEVNULL)


class Stack:
    """Nothing runs until it is started. @more is merged into the configuration."""

    def __init__(self, folder, more=None):
        for program in (SOUK, SIM, CLICKHOUSE):
            if not program.exists():
                pytest.fail(f"{program} is not built", pytrace=False)
        self.folder = folder
        self.hub, self.native, self.http, self.sim = free_ports(4)
        self.processes = {}
        self.souk_env = {}
        self.sampler = sampler.Sampler(lambda path: ask(self.hub, path), self.query, DATABASE)
        self.config_file = folder / "souk.yaml"
        url = f"http://127.0.0.1:{self.sim}"
        self.config = {
            "state_dir": str(folder / "souk"),
            "clickhouse": {"host": "127.0.0.1", "port": self.native, "user": "souk", "password_file": str(self.password_file())},
            "hub": {"host": "127.0.0.1", "port": self.hub, "open_to_local": True},
            "sources": {"psapi": {"base_url": url, "seed_url": url, "start": "oldest", "period_s": 0.5, "hidden_bucket_ms": 1},
                        "poe_ninja": {"base_url": url, "leagues": ["Standard"], "kinds": ["exchange/Currency", "item/UniqueWeapon"]}},
            "batch": {"age_ms": 300},
        }
        # As the launcher would make it: souk may be started before ClickHouse, or without it.
        self.password_file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.password_file().exists():
            self.password_file().touch(0o600)
            self.password_file().write_text(secrets.token_hex(16))
        self.configure(more or {})

    def password_file(self):
        return self.folder / "clickhouse/password"

    def configure(self, more):
        merge(self.config, more)
        self.config_file.write_text(json.dumps(self.config, indent=1))

    # Processes.

    def start(self, name, *command):
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log,
                                                    stderr=log, start_new_session=True,
                                                    env=environment(**(self.souk_env if name == "souk" else {})))
        return self.processes[name]

    def start_clickhouse(self, schema=True):
        self.start("clickhouse", CLICKHOUSE, "--path", self.folder / "clickhouse", "--tcp-port", self.native,
                   "--http-port", self.http)
        # The two ports open one after the other.
        until("ClickHouse answers", 90, lambda: ask(self.http, "/ping") and listens(self.native),
              lambda: self.tail("clickhouse"))
        LOGINS[self.http] = {"X-ClickHouse-User": "souk", "X-ClickHouse-Key": self.password_file().read_text().strip()}
        if schema:
            done = run_souk("schema", "apply", "--yes", config=self.config_file, seconds=60)
            assert done.returncode == 0, done.stderr

    def start_sim(self, *options):
        self.start("sim", SIM, "--port", self.sim, "--state", self.folder / "sim", "--quiet", "--psapi-limits", "10:1:60",
                   "--hidden-bucket-ms", "0", "--ninja-rebuild", "5", "--rate", "100", "--page-changes", "100", *options)
        until("the simulator answers", 10, lambda: ask(self.sim, "/_sim/status"), lambda: self.tail("sim"))

    def start_souk(self, wait=True):
        self.start("souk", SOUK, "--config", self.config_file, "run")
        self.sampler.start()
        if wait:
            until("souk is ready", 20, lambda: ask(self.hub, "/-/ready"), lambda: self.tail("souk"))

    def start_all(self, *sim_options):
        self.start_clickhouse()
        self.start_sim(*sim_options)
        self.start_souk()

    def stop(self, name, seconds=30, sig=signal.SIGTERM):
        """@return the exit code."""
        process = self.processes.pop(name)
        self.sampler.look()
        if process.poll() is None:
            process.send_signal(sig)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"{name} did not stop within {seconds} s\n{self.tail(name)}", pytrace=False)

    def end(self):
        """Whatever the test left running, in the order in which data flows."""
        self.sampler.end()
        for name in [n for n in ("souk", "sim", "clickhouse") if n in self.processes] + list(self.processes):
            if name not in self.processes:
                continue
            process = self.processes.pop(name)
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(25)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def tail(self, name, n=25):
        with contextlib.suppress(OSError):
            return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-n:])
        return ""

    def log(self, name="souk"):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    # What they say.

    def status(self):
        return self.sampler.saw_status(json.loads(ask(self.hub, "/api/v1/status")))

    def psapi(self):
        return next(s for s in self.status()["sources"] if s["name"] == "psapi")

    def alerts(self, kind=None):
        """The alerts of a class, resolved ones too."""
        return [a for a in json.loads(ask(self.hub, "/api/v1/alerts"))["alerts"] if kind in (None, a["class"])]

    def query(self, sql):
        return ask(self.http, f"/?database={DATABASE}", sql).strip()

    def count(self, table, where="1"):
        return int(self.query(f"SELECT count() FROM {table} WHERE {where}"))

    def metric(self, name):
        """The sum of a metric's samples."""
        return sum(self.samples(name))

    def samples(self, name):
        text = self.sampler.saw_metrics(ask(self.hub, "/metrics"))
        return [float(v) for v in re.findall(rf"(?m)^{name}(?:{{[^}}]*}})? (\S+)$", text)]

    def assert_balance(self):
        """Every row that was decoded is stored, refused or held, at this very moment."""
        assert self.metric("souk_rows_decoded_total") > 0
        assert self.samples("souk_pipeline_imbalance_rows") == [0, 0]  # Of the stages decode and store.

    def simulator(self):
        return json.loads(ask(self.sim, "/_sim/status"))

    # What the simulator does.

    def fault(self, kind, target="psapi", **more):
        ask(self.sim, "/_sim/fault", {"target": target, "kind": kind} | more)

    def freeze(self, on=True):
        ask(self.sim, "/_sim/freeze", {"on": on})

    def goes_on(self, seconds=30):
        """Waits until psapi has had two more pages than now."""
        before = self.psapi()["pages"]["new"]
        until("psapi goes on", seconds, lambda: self.psapi()["pages"]["new"] >= before + 2,
              lambda: json.dumps(self.psapi()) + "\n" + self.tail("souk"))

    def settle(self, seconds=60):
        """Freezes the simulator, and waits until souk has its last page and ClickHouse all that came before."""
        self.freeze()
        until("psapi is at the head", seconds, lambda: self.psapi()["state"] == "caught_up"
              and self.psapi()["cursor"] == self.simulator()["head"], lambda: json.dumps(self.psapi()) + "\n" + self.tail("souk"))
        mark = self.status()["spool"]["synced_lsn"]
        until("all is stored", seconds, lambda: self.has_stored(mark),
              lambda: json.dumps([self.status()[k] for k in ("spool", "store")]) + "\n" + self.tail("souk"))

    def has_stored(self, mark):
        """Whether all rows of market data from before log position @mark are in ClickHouse. Each poll of a quiet
        upstream makes rows of the other tables, so these are never done."""
        ask(self.hub, "/api/v1/flush", {})
        page = self.status()
        return page["store"]["state"] == "connected" and page["spool"]["decoded_lsn"] >= mark and not any(
            t["open_rows"] or t["outstanding"] for t in page["store"]["tables"]
            if t["name"] not in ("bronze_requests", "bronze_ingest_checkpoints", "poe_ingest_status", "proc_logs"))

    def audit(self, *options):
        return subprocess.run([SIM, "audit", "--ledger", self.folder / "sim/ledger.tsv", "--clickhouse",
                               f"http://127.0.0.1:{self.http}", "--user", "souk", "--password-file", self.password_file(), *options], capture_output=True, text=True, timeout=600)

    def is_clean(self):
        """What the simulator said is what ClickHouse holds, row by row, and no limit was broken."""
        self.settle()
        deadline = time.monotonic() + 10
        # An overview of poe.ninja may be under way; what is lost stays lost, and what is twice stays so.
        while (found := self.audit()).returncode != 0 and time.monotonic() < deadline:
            time.sleep(1)
        self.freeze(False)
        assert found.returncode == 0, found.stdout + found.stderr + self.tail("souk")
        assert re.search(r"(?m)^0 lost, 0 twice", found.stdout), found.stdout
        broken = self.folder / "sim/violations.jsonl"
        assert self.simulator()["violations"] == 0, broken.read_text()


@contextlib.contextmanager
def stack_of(folder, more=None, start=True, sim_options=()):
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder, more)
    try:
        if start:
            stack.start_all(*sim_options)
        yield stack
    finally:
        stack.end()

"""souk, souk-sim and ClickHouse with the fault proxy between souk and ClickHouse, and what they prove together.

The oracle is souk-sim audit: what the simulator's ledger says was sent against what ClickHouse holds,
row by row; besides it, that no row's place in the log (src, lsn, ord) is there twice, that each page's
checkpoint counts its rows, and that no limit was broken.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import time

import chproxy
import pytest
from stacks import Stack, ask, free_ports, until

TABLES = ("bronze_public_stash", "bronze_requests", "bronze_ingest_checkpoints", "bronze_poeninja_snapshot",
          "raw_public_stash_pages")
FAST = ("--rate", "900", "--page-changes", "450", "--psapi-limits", "20:1:60")  # Some 2,000 rows/s, 2 pages/s.


class Bench(Stack):
    """@native is the engine's own port, and souk is told the proxy's."""

    def __init__(self, folder, more=None):
        super().__init__(folder)
        self.n_audited = 0
        self.proxy_port = free_ports(1)[0]
        self.proxy = chproxy.Proxy(self.proxy_port, self.native)
        self.proxy.__enter__()
        self.configure({"clickhouse": {"port": self.proxy_port}, "limits": {"host_gap_ms": 50},
                        "sources": {"psapi": {"rate_per_s": 8}}})
        self.configure(more or {})

    def end(self):
        super().end()
        self.proxy.close()

    # Hurting processes.

    def kill_souk(self):
        process = self.processes.pop("souk")
        process.send_signal(signal.SIGKILL)
        process.wait()

    def kill_engine(self):
        """The launcher's child is the engine; the launcher starts it again."""
        pid = self.processes["clickhouse"].pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:  # None between two lives.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(children[0]), signal.SIGKILL)

    def restart_souk(self, seconds=10):
        """@return how long it took until /-/ready said 200."""
        begun = time.monotonic()
        self.start_souk(wait=False)
        until("souk is ready again", seconds, lambda: ask(self.hub, "/-/ready"), lambda: self.tail("souk"))
        return time.monotonic() - begun

    # Asking.

    def rows(self, table="bronze_public_stash"):
        return self.count(table)

    def wait_for_rows(self, more, seconds=60, table="bronze_public_stash"):
        """Waits until @table has gained @more rows."""
        goal = self.rows(table) + more
        until(f"{more} more rows in {table}", seconds, lambda: self.rows(table) >= goal,
              lambda: json.dumps(self.status()["store"]) + "\n" + self.tail("souk"))

    def fresh(self, seconds=30):
        """Waits until psapi is green and ClickHouse connected. @return how long it took."""
        begun = time.monotonic()
        def is_fresh():
            page = self.status()
            source = next(s for s in page["sources"] if s["name"] == "psapi")
            return page["store"]["state"] == "connected" and source["level"] == "green" and source["lag_s"] < 5
        until("psapi is fresh and ClickHouse connected", seconds, is_fresh,
              lambda: json.dumps([self.psapi(), self.status()["store"]]) + "\n" + self.tail("souk"))
        return time.monotonic() - begun

    def loop_p99(self):
        """Of the turns of the loop since the start, in seconds: the upper edge of the bucket that holds it."""
        found = re.findall(r'(?m)^souk_loop_lag_seconds_bucket\{[^}]*le="([^"]+)"\} (\S+)$', ask(self.hub, "/metrics"))
        buckets = [(float(edge), float(n)) for edge, n in found]
        total = buckets[-1][1]
        return next(edge for edge, n in buckets if n >= 0.99 * total)

    def has_drained(self, mark):
        """Whether all market data from before log position @mark are stored, while more keep coming."""
        return self.status()["spool"]["low_water_lsn"] >= mark

    # The oracle.

    def uncounted_rows(self):
        """Rows that checkpoints of psapi count less those that are there."""
        return int(self.query("SELECT toInt64(sum(rows)) - (SELECT toInt64(count()) FROM bronze_public_stash) - "
                              "(SELECT toInt64(count()) FROM raw_public_stash_pages) - "
                              "(SELECT toInt64(count()) FROM bronze_quarantine WHERE source = 'psapi') "
                              "FROM bronze_ingest_checkpoints WHERE service = 'psapi' AND status = 'ok'"))

    def audited(self, score, replaced=False, settle_s=120, quarantined=0):
        """Settles, compares, fills in @score, and fails unless nothing is lost, twice or broken."""
        self.settle(settle_s)
        deadline = time.monotonic() + 10
        while True:
            found = self.audit_json(replaced)
            if found["clean"] or time.monotonic() > deadline:
                break
            time.sleep(0.5)  # An overview of poe.ninja may be under way.
        tables = found["tables"].values()
        stored = sum(t["stored"] for t in tables)
        score.rows += stored - self.n_audited  # Those that an earlier case has counted are compared again.
        self.n_audited = stored
        score.lost += max(0, sum(t["lost"] for t in tables) - quarantined)
        twice = sum(t["twice"] for t in tables)
        in_log = {t: int(self.query(f"SELECT count() - uniqExact(src, lsn, ord) FROM {t}")) for t in TABLES}
        score.twice += max(twice, sum(in_log.values()))
        assert score.lost == 0 and score.twice == 0, f"{found}\n{in_log}\n{self.tail('souk')}"
        assert found["clean"] or quarantined, found
        # Checkpoint rows come after the data that they speak of; a settled stack may still owe some.
        until("each page's checkpoint is stored", 30, lambda: self.uncounted_rows() == 0,
              lambda: f"checkpoints count {self.uncounted_rows()} rows more than there are")
        broken = self.folder / "sim/violations.jsonl"
        assert self.simulator()["violations"] == 0, broken.read_text()
        self.assert_balance()
        assert not self.proxy.unread, list(self.proxy.unread)
        self.freeze(False)

    def audit_json(self, replaced=False):
        out = self.audit("--json", *(["--replaced"] if replaced else []))
        try:
            return json.loads(out.stdout)
        except ValueError:
            pytest.fail(f"the audit could not be made: {out.stdout}{out.stderr}", pytrace=False)


@contextlib.contextmanager
def bench_of(folder, more=None, sim=FAST, start=True):
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, more)
    try:
        if start:
            bench.start_all(*sim)
        yield bench
    finally:
        bench.end()

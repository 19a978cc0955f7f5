"""Two ClickHouse servers that know nothing of each other in clickhouse.hosts: a lost reply, then failover.

What may be at the first waits for it, and everything else goes on at the second, so that each row is at
one of the two, once. The oracle is what both hold together.
"""

import contextlib
import json
import shutil

import chproxy
import pytest
import score
from bench import FAST, Bench
from stacks import CLICKHOUSE, LOGINS, ask, free_ports, listens, run_souk, until

TABLES = ("bronze_public_stash", "raw_public_stash_pages", "bronze_requests", "bronze_ingest_checkpoints")


class Two(Bench):
    """@proxy stands in front of the first server, @second_proxy in front of the other."""

    def __init__(self, folder):
        super().__init__(folder)
        self.second_native, self.second_http, self.second_port = free_ports(3)
        self.second_proxy = chproxy.Proxy(self.second_port, self.second_native)
        self.second_proxy.__enter__()

    def end(self):
        super().end()
        self.second_proxy.close()

    def start_both(self):
        self.start_clickhouse()
        (self.folder / "second").mkdir(mode=0o700)
        shutil.copy2(self.password_file(), self.folder / "second/password")  # One password for all hosts.
        self.start("second", CLICKHOUSE, "--path", self.folder / "second", "--tcp-port", self.second_native,
                   "--http-port", self.second_http)
        until("the second ClickHouse answers", 90, lambda: ask(self.second_http, "/ping") and listens(self.second_native),
              lambda: self.tail("second"))
        LOGINS[self.second_http] = LOGINS[self.http]
        self.configure({"clickhouse": {"port": self.second_port}})
        done = run_souk("schema", "apply", "--yes", config=self.config_file, seconds=60)
        assert done.returncode == 0, done.stderr
        self.configure({"clickhouse": {"port": self.proxy_port, "hosts": [f"127.0.0.1:{self.proxy_port}",
                                                                          f"127.0.0.1:{self.second_port}"]}})

    def keys(self, http, table):
        text = ask(http, "/", f"SELECT src, lsn, ord FROM poe_trade.{table} FORMAT TSV".encode())
        return text.splitlines()

    def at_second(self, table="bronze_public_stash"):
        return int(ask(self.second_http, "/", f"SELECT count() FROM poe_trade.{table}".encode()))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failover")
    with contextlib.ExitStack() as undo:
        running = Two(folder)
        undo.callback(running.end)
        running.start_both()
        yield running


def test_check_tells_replicas_from_strangers(two):
    found = run_souk("check", "--env", config=two.config_file, seconds=60)
    assert "strangers" in found.stdout + found.stderr, found.stdout + found.stderr


@pytest.mark.case(40)
def test_a_lost_reply_and_then_a_failover_store_each_row_once(two):
    with score.case(40, "reply lost, then failover to a server that is no replica") as s:
        two.start_sim(*FAST)
        two.start_souk()
        two.wait_for_rows(1000)
        # Each of them until it is refused, as a retry in between would be told its end.
        two.proxy.fault("lose_reply", table="bronze_public_stash", times=None)
        until("a reply is lost", 60, lambda: [a for a in two.proxy.seen(fault="lose_reply") if a.server == "committed"],
              lambda: two.tail("souk"))
        two.proxy.refuse()
        two.proxy.clear()
        until("rows go to the second server", 60, lambda: two.at_second() > 1000,
              lambda: json.dumps(two.status()["store"]) + two.tail("souk"))
        until("status says what waits", 60, lambda: two.status()["store"]["elsewhere_batches"] > 0,
              lambda: json.dumps(two.status()["store"]) + two.tail("souk"))
        assert two.status()["store"]["state"] == "elsewhere"
        assert two.metric("souk_batches_elsewhere") > 0
        two.kill_souk()  # What it knew of the lost reply is in the log.
        two.start_souk()
        until("it waits again", 60, lambda: two.status()["store"]["elsewhere_batches"] > 0,
              lambda: json.dumps(two.status()["store"]) + two.tail("souk"))
        two.proxy.accept()
        until("nothing waits any more", 120, lambda: two.status()["store"]["elsewhere_batches"] == 0
              and two.status()["store"]["state"] == "connected", lambda: json.dumps(two.status()["store"]) + two.tail("souk"))
        two.settle(120)
        emitted = two.simulator()["rows_emitted"]
        for table in TABLES:
            keys = two.keys(two.http, table) + two.keys(two.second_http, table)
            s.twice += len(keys) - len(set(keys))
            if table == "bronze_public_stash":
                s.rows, s.lost = len(keys), max(0, emitted - len(keys))
        assert s.twice == 0 and s.lost == 0, (s.twice, s.lost, emitted)
        s.detail = f"{s.rows} rows, {two.at_second()} of them at the second server"

"""The whole path in real programs: what was fetched can be asked for, and souk says how it is, stops and goes on."""

import json
import re
import subprocess
import time

import pytest
from stacks import SOUK, ask, run_souk, stack_of, until

QUERIES = {  # As operators run them.
    "retries": "SELECT quantileExact(0.95)(retry_count) FROM bronze_ingest_checkpoints WHERE service='psapi' AND retrieved_at > now() - INTERVAL 10 MINUTE",
    "sizes": "SELECT name,total_rows,total_bytes FROM system.tables WHERE database='poe_trade' AND name IN ('bronze_public_stash','bronze_ingest_checkpoints')",
    "ninja_age_p95": "SELECT quantileExact(0.95)(dateDiff('second', sample_time_utc, now())) AS p95_age_sec FROM bronze_poeninja_snapshot WHERE sample_time_utc > now() - INTERVAL 1 HOUR",
    "ninja_age": "SELECT now() - max(sample_time_utc) FROM bronze_poeninja_snapshot",
    "checkpoint_age": "SELECT now() - max(retrieved_at) FROM bronze_ingest_checkpoints",
    "stash_rows": "SELECT count(*) FROM bronze_public_stash WHERE ingest_ts > now() - INTERVAL 10 MINUTE",
    "drift": "SELECT * FROM ops_drift_log ORDER BY triggered_at DESC LIMIT 3",
    "alerts": "SELECT count(*) FROM ops_alert_log WHERE source='NiceGUI' AND ts > now() - INTERVAL 1 DAY",
    "throttled": "SELECT count(*) FROM bronze_requests WHERE status=429 AND league='Standard'",
    "health": "SELECT service, lag_seconds, severity FROM v_ops_ingest_health ORDER BY service",
    "cursors": "SELECT count() FROM v_ops_recent_cursors WHERE service='psapi'",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stack_of(tmp_path_factory.mktemp("path")) as running:
        until("rows of both sources", 40, lambda: running.count("bronze_public_stash") > 500
              and running.count("bronze_poeninja_snapshot") > 0, lambda: running.tail("souk"))
        yield running


def test_the_queries_of_operators_answer(stack):
    said = {name: stack.query(sql) for name, sql in QUERIES.items()}
    assert int(said["retries"]) == 0
    sizes = {name: (int(rows), int(size)) for name, rows, size in (line.split("\t") for line in said["sizes"].splitlines())}
    assert set(sizes) == {"bronze_public_stash", "bronze_ingest_checkpoints"}
    assert all(rows > 0 and size > 0 for rows, size in sizes.values())
    for age in ("ninja_age_p95", "ninja_age", "checkpoint_age"):
        assert -1 <= float(said[age]) < 120, said[age]
    assert int(said["stash_rows"]) > 500
    assert said["drift"] == ""
    assert (int(said["alerts"]), int(said["throttled"])) == (0, 0)
    assert {line.split("\t")[0] for line in said["health"].splitlines()} == {"psapi", "poe_ninja"}
    assert 1 <= int(said["cursors"]) <= 10


def test_prometheus_is_content(stack):
    text = ask(stack.hub, "/metrics")
    try:
        lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("promtool is not installed")
    said = lint.stdout + lint.stderr
    assert not re.search(r"(?m)^(souk|process)_", said), said
    assert lint.returncode == 0, said
    for family in ("souk_build_info", "souk_ready", "souk_loop_lag_seconds", "souk_http_requests_total", "souk_source_pages_total",
                   "souk_source_rows_total", "souk_source_freshness", "souk_wal_size_bytes", "souk_rows_acked_total",
                   "souk_ratelimit_limit", "process_resident_memory_bytes"):
        assert re.search(rf"(?m)^# TYPE {family} ", text), f"no {family}"


def test_it_says_how_it_is(stack):
    assert ask(stack.hub, "/-/healthy").strip() != ""
    ask(stack.hub, "/-/ready")
    page = stack.status()
    assert page["state"] == "running"
    assert page["store"]["state"] == "connected"
    assert {s["name"] for s in page["sources"]} == {"psapi", "poe_ninja"}
    # The counts of its tables are those of ClickHouse, once nothing is under way.
    stack.settle()
    held = {t["name"]: t["rows"] for t in stack.status()["store"]["tables"]}
    for table in ("bronze_public_stash", "raw_public_stash_pages", "bronze_poeninja_snapshot"):
        assert held[table] == stack.count(table), table
    assert stack.psapi()["rows"] == held["bronze_public_stash"]  # Of data: neither pages nor checkpoints.
    # What is stored a second is one figure, of what ClickHouse has acknowledged lately: it ends with the rows.
    def ended():
        at = stack.status()
        said = re.search(r"([\d,]+) rows/s stored", at["summary"]["text"])
        tables = {t["name"]: t["rows_per_s"] for t in at["store"]["tables"]}
        return (tables["bronze_public_stash"] == 0 and abs(sum(tables.values()) - at["store"]["rows_per_s"]) < 1
                and said and abs(int(said[1].replace(",", "")) - at["store"]["rows_per_s"]) <= 1)
    until("nothing is stored any more", 240, ended, lambda: json.dumps(stack.status()["store"]))
    stack.freeze(False)


def test_the_status_verb_says_it_too(stack):
    until("all green", 20, lambda: stack.status()["summary"]["level"] == "green", lambda: json.dumps(stack.status()["summary"]))
    screen = run_souk("status", config=stack.config_file)
    assert screen.returncode == 0, screen.stdout + screen.stderr
    for word in ("SOURCE", "BEHIND", "psapi", "poe_ninja", "ENDPOINT", "MAY SEND", "spool", "store  connected", "bronze_public_stash", "alerts"):
        assert word in screen.stdout, word
    machine = run_souk("status", "--json", config=stack.config_file)
    assert machine.returncode == 0, machine.stderr
    assert json.loads(machine.stdout)["summary"]["level"] == "green"


def test_steady_state_costs_little(stack):
    """Times are printed, not judged: the machine may be busy."""
    cpu, begun = stack.metric("process_cpu_seconds_total"), time.monotonic()
    time.sleep(5)
    share = (stack.metric("process_cpu_seconds_total") - cpu) / (time.monotonic() - begun)
    rss = stack.metric("process_resident_memory_bytes")
    print(f"steady: {share:.1%} of a core (aim 5 %), {rss / 1048576:.0f} MiB resident (aim 64), "
          f"{stack.psapi()['rows_per_s']:.0f} rows/s")
    sanitized = b"__asan_init" in SOUK.read_bytes()
    assert rss < (512 if sanitized else 128) * 1048576  # Sanitizers keep what is freed.


def test_sigterm_under_load_needs_no_repair(stack):
    """Drained within its patience, exit 0; the next start reads on from the same cursor."""
    stack.goes_on()
    begun = time.monotonic()
    assert stack.stop("souk") == 0, stack.tail("souk")
    print(f"stopped in {time.monotonic() - begun:.2f} s")
    assert time.monotonic() - begun < 10
    stored = stack.query("SELECT argMax(next_cursor_id, (retrieved_at, lsn)) FROM bronze_ingest_checkpoints WHERE service='psapi' AND status='ok'")
    stack.start_souk()
    spool = stack.status()["spool"]
    assert (spool["torn_bytes"], spool["corrupt_bytes"]) == (0, 0), spool
    stack.goes_on()
    after = f"retrieved_at > (SELECT max(retrieved_at) FROM bronze_ingest_checkpoints WHERE next_cursor_id='{stored}')"
    first = until("a page of the new start is stored", 10, lambda: stack.query(
        f"SELECT argMin(last_cursor_id, lsn) FROM bronze_ingest_checkpoints WHERE service='psapi' AND status='ok' AND {after}"))
    assert first == stored
    stack.is_clean()


def test_it_begins_near_the_head(tmp_path):
    """start: head asks for the head's change id once, and skips the backlog."""
    with stack_of(tmp_path, {"sources": {"psapi": {"start": "head"}, "poe_ninja": {"enabled": False}}}, start=False) as stack:
        stack.start_clickhouse()
        stack.start_sim("--backlog", "2000")
        until("there is a backlog", 20, lambda: ask(stack.sim, "/api/trade/data/change-ids") and not time.sleep(1)
              and stack.simulator()["pages_made"] > 5)
        stack.freeze()
        stack.start_souk()
        until("it has caught up", 20, lambda: stack.psapi()["state"] == "caught_up", lambda: stack.tail("souk"))
        assert stack.psapi()["cursor"] == stack.simulator()["head"]
        assert stack.psapi()["pages"]["new"] == 0
        stack.freeze(False)
        stack.goes_on()
        stack.is_clean()
        assert stack.simulator()["pages_served"] < stack.simulator()["pages_made"]


def test_what_waits_for_its_age_is_sent_when_asked_for_and_on_the_way_down(tmp_path):
    """An age that this test does not live to see: what is stored was asked for."""
    with stack_of(tmp_path / "flush", {"batch": {"age_ms": 60000}}) as stack:
        def waiting(table="bronze_public_stash"):
            return next(t["open_rows"] for t in stack.status()["store"]["tables"] if t["name"] == table)
        until("rows wait", 30, lambda: waiting() > 0 and waiting("bronze_requests") > 0, lambda: stack.tail("souk"))
        assert stack.count("bronze_requests") == 0
        done = run_souk("ctl", "flush", config=stack.config_file)
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
        until("they are stored", 20, lambda: stack.count("bronze_public_stash") > 0 and stack.count("bronze_requests") > 0
              and stack.count("bronze_ingest_checkpoints") > 0, lambda: stack.tail("souk"))
        until("more rows wait", 30, lambda: waiting("bronze_requests") > 0, lambda: stack.tail("souk"))
        requests = stack.count("bronze_requests")
        assert stack.stop("souk") == 0
        assert stack.count("bronze_requests") > requests

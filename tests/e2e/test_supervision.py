"""What people do with a running souk: choose sources, move cursors, fetch the past, reload; and what it writes of itself."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import time

import pytest
from stacks import SOUK, ask, environment, run_souk, stack_of, until


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("supervision")
    with stack_of(folder, start=False) as s:
        s.configure({"sources": {"currency_exchange": {"enabled": True, "base_url": f"http://127.0.0.1:{s.sim}/api",
                                                       "realms": ["pc"], "late_s": 1, "rate_per_s": 1, "start": "latest"}}})
        s.start_all("--cx-history", "12", "--cx-late", "0")
        yield s


def souk(stack, *arguments, code=0, seconds=60):
    done = run_souk(*arguments, config=stack.config_file, seconds=seconds)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}\n{stack.tail('souk')}"
    return done


def on_a_terminal(stack, *arguments):
    master, slave = pty.openpty()
    try:
        done = subprocess.run([SOUK, "--config", stack.config_file, *arguments], stdin=subprocess.DEVNULL, stdout=slave,
                              stderr=subprocess.PIPE, timeout=60, env=environment())
        assert done.returncode == 0, done.stderr.decode()
        os.set_blocking(master, False)
        shown = b""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(master, 4096):
                shown += part
        return shown.decode()
    finally:
        os.close(master)
        os.close(slave)


def cursors(stack, *arguments):
    found = json.loads(souk(stack, "--json", "cursor", "get", *arguments).stdout)["streams"]
    return {(s["source"], s["stream"]): s for s in found}


def cursor(stack):
    return cursors(stack, "psapi")["psapi", "pc"]["cursor"]


def restart(stack, *options):
    assert stack.stop("souk") == 0, stack.tail("souk")
    if options:
        stack.start("souk", SOUK, "--config", stack.config_file, "run", *options)
        until("souk is ready", 20, lambda: ask(stack.hub, "/-/ready"), lambda: stack.tail("souk"))
    else:
        stack.start_souk()


def test_the_state_of_streams_and_warnings_are_rows(stack):
    stack.goes_on()
    stack.fault("status", count=1, value=503)
    latest = "SELECT state, next_change_id, last_ingest_time > toDateTime64('2020-01-01', 3), avg_req_per_sec > 0 " \
             "FROM poe_ingest_status FINAL WHERE service = 'psapi' AND stream = 'pc'"
    until("psapi has a row", 20, lambda: stack.query(latest).split("\t")[2:] == ["1", "1"],
          lambda: stack.query("SELECT * FROM poe_ingest_status FORMAT Vertical") + stack.tail("souk"))
    until("a warning is a row", 30, lambda: stack.count("proc_logs", "level = 'warn' AND message = 'request failed' "
                                                         "AND JSONExtractString(fields, 'stream') = 'pc'"),
          lambda: stack.query("SELECT * FROM proc_logs FORMAT Vertical") + stack.tail("souk"))
    assert stack.count("proc_logs", "NOT isValidJSON(fields)") == 0
    assert stack.query("SELECT countIf(n > 1) FROM (SELECT count() n FROM proc_logs GROUP BY lsn, ord)") == "0"


def test_a_frozen_cursor_asks_nothing_also_after_a_restart(stack):
    stack.goes_on()
    souk(stack, "cursor", "freeze", "psapi", "pc", "--reason", "the venue asked us")
    before = cursor(stack)
    assert stack.psapi()["state"] == "held"
    assert "the venue asked us" in stack.psapi()["last_error"]
    time.sleep(1.5)
    assert cursor(stack) == before
    stack.processes["souk"].kill()
    stack.processes.pop("souk").wait()
    offline = cursors(stack, "psapi", "pc")["psapi", "pc"]
    assert (offline["state"], offline["cursor"]) == ("log", before)
    assert offline["frozen"].startswith("the venue asked us (by ")
    stack.start_souk()
    restart(stack)  # Once more: from the checkpoint this time.
    time.sleep(1)
    assert (stack.psapi()["state"], cursor(stack)) == ("held", before)
    until("the table says so", 20, lambda: stack.query("SELECT state FROM poe_ingest_status FINAL WHERE service = 'psapi' AND stream = 'pc'") == "held")
    assert all(a["severity"] != "critical" for a in stack.alerts("drift")), stack.alerts()
    souk(stack, "cursor", "unfreeze", "psapi", "pc")
    stack.goes_on()
    assert cursor(stack) != before


def test_a_cursor_is_set_by_hand(stack):
    stack.goes_on()
    stack.freeze()
    until("psapi is at the head", 30, lambda: stack.psapi()["state"] == "caught_up", lambda: stack.tail("souk"))
    head = cursor(stack)
    pages = stack.query("SELECT cursor FROM raw_public_stash_pages ORDER BY lsn LIMIT 3").split("\n")
    assert "change id" in souk(stack, "cursor", "set", "psapi", "pc", "nowhere", "--reason", "why", code=1).stderr
    souk(stack, "cursor", "set", "psapi", "pc", pages[-1], code=2)
    assert "no stream" in souk(stack, "cursor", "set", "psapi", "moon", "1-2", "--reason", "why", code=1).stderr
    assert cursor(stack) == head
    souk(stack, "cursor", "set", "psapi", "pc", pages[-1], "--reason", "look again")
    until("it is at the head again", 30, lambda: cursor(stack) == head and stack.psapi()["state"] == "caught_up")
    stack.freeze(False)
    until("the log of it is a row", 20, lambda: stack.query(
        "SELECT last_cursor_id, next_cursor_id FROM bronze_ingest_checkpoints WHERE status = 'set'") == f"{head}\t{pages[-1]}")
    # Requests wait for more of them before they are stored.
    until("its reason is a row", 90, lambda: stack.count("bronze_requests", "http_method = 'CURSOR' AND error LIKE '%look again%'"))


def test_a_backfill_fetches_a_stretch_once_and_goes_on_after_a_restart(stack):
    until("there is a past", 60, lambda: stack.count("raw_public_stash_pages") > 30)
    first = stack.query("SELECT cursor, next_cursor FROM raw_public_stash_pages WHERE cursor != '' ORDER BY lsn LIMIT 25").split("\n")
    start, end = first[0].split("\t")[0], first[-1].split("\t")[1]
    expected = int(stack.query("SELECT uniqExact(cursor) FROM raw_public_stash_pages WHERE lsn <= "
                               f"(SELECT min(lsn) FROM raw_public_stash_pages WHERE next_cursor = '{end}') AND cursor != ''"))
    wish = ("backfill", "psapi", "--from", start, "--to", end)
    assert "does not lie before" in souk(stack, "backfill", "psapi", "--from", end, "--to", start, code=1).stderr
    assert "has no past" in souk(stack, "backfill", "poe_ninja", "Standard/exchange/Currency", "--from", "1", "--to", "2",
                                 code=1).stderr
    assert "0.00001 to 100" in souk(stack, *wish, "--budget", "1e-300", code=2).stderr
    souk(stack, *wish, "--budget", "5", "--detach")
    key = f"pc@backfill/{start}-{end}"
    until("it has some", 20, lambda: cursors(stack).get(("psapi", key), {}).get("cursor", start) != start)
    restart(stack)
    here = cursors(stack)["psapi", key]
    assert here["state"] == "absent"
    souk(stack, *wish, "--budget", "4", "--detach")
    souk(stack, *wish, "--stop")
    lines = souk(stack, "--json", *wish, "--budget", "20", "--verify", seconds=120).stdout.splitlines()
    report = next(r for r in map(json.loads, lines) if r.get("state") == "done")
    verified = json.loads(lines[-1])
    assert verified["differences"] == [] and any(t["rows"] for t in verified["tables"]), verified
    assert (report["state"], report["cursor"], report["gaps"]) == ("done", end, 0)
    assert stack.simulator()["violations"] == 0
    again = json.loads(souk(stack, "--json", *wish, "--budget", "20", seconds=60).stdout.splitlines()[-1])
    assert again["pages"] == report["pages"], "no page is fetched twice"
    time.sleep(2.5)  # A step of the history, in which the sum over streams has lost those of the backfill.
    history = stack.status()["history"]
    assert all(0 <= n < 1e6 for series in history.values() if isinstance(series, list) for n in series), history
    fetched = "SELECT count(), uniqExact(last_cursor_id) FROM bronze_ingest_checkpoints WHERE service = 'psapi_backfill' " \
              "AND status = 'ok'"
    assert stack.query(fetched) == f"{expected}\t{expected}"


def test_hours_are_backfilled_by_time(stack):
    hours = "SELECT uniqExact(hour_ts) FROM bronze_exchange_events WHERE hour_ts > toDateTime({}) AND hour_ts <= toDateTime({})"
    now = int(time.time()) // 3600 * 3600
    begin, end = now - 9 * 3600, now - 3 * 3600
    until("it has the last hour", 30, lambda: cursors(stack)["currency_exchange", "pc"]["cursor"] >= str(now - 3600))
    assert stack.query(hours.format(begin, end)) == "0"
    wish = ("backfill", "currency_exchange", "--from", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin + 3600)),
            "--to", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end + 3600)), "--budget", "5")
    done = souk(stack, *wish, "--verify", seconds=120).stdout
    assert "  state       done at " in done and "  gaps        0\n" in done, done
    assert stack.query(hours.format(begin, end)) == "6", done
    shown = on_a_terminal(stack, "backfill", "currency_exchange", "--from", str(now - 11 * 3600), "--to", str(now - 9 * 3600))
    assert "\r\x1b[K[" in shown and "100.0 %  2 pages  00:00:00 left" in shown and "  duplicates  0" in shown, shown
    assert "is no hour" in souk(stack, "backfill", "currency_exchange", "--from", "soon", code=1).stderr
    # What was started by time ends by time; hours that nobody has yet are waited for until then.
    wish = ("backfill", "currency_exchange", "--from", time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(now + 86400)),
            "--to", time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(now + 90000)))
    souk(stack, *wish, "--detach")
    assert f"is stopped at {now + 82800}" in souk(stack, *wish, "--stop").stdout
    assert "no such backfill runs" in souk(stack, *wish, "--stop", code=1).stderr
    assert stack.simulator()["violations"] == 0


def test_only_selected_sources_run(stack):
    assert "there are" in souk(stack, "run", "--sources", "moon*", code=2).stderr
    restart(stack, "--sources", "poe_n*")
    assert {s["name"] for s in stack.status()["sources"]} == {"poe_ninja"}
    absent = cursors(stack, "psapi", "pc")["psapi", "pc"]
    assert absent["state"] == "absent"
    restart(stack, "--sources", "poe_*,psapi")
    assert {s["name"] for s in stack.status()["sources"]} == {"poe_ninja", "psapi"}
    assert cursor(stack) >= absent["cursor"] != "", "it goes on where it was"
    stack.goes_on()


def test_a_reload_applies_all_or_nothing(stack):
    good = json.loads(json.dumps(stack.config))
    try:
        stack.goes_on()
        before = stack.metric("souk_config_reloads_total")
        stack.configure({"log": {"level": "debug"}, "sources": {"psapi": {"period_s": 1.5}},
                         "alerts": {"psapi": {"amber_s": 1000, "red_s": 2000}}})
        stack.processes["souk"].send_signal(signal.SIGHUP)
        until("it is applied", 10, lambda: stack.metric("souk_config_reloads_total") > before, lambda: stack.tail("souk"))
        assert stack.metric("souk_config_last_reload_successful") == 1
        stack.freeze()
        until("psapi is at the head", 30, lambda: stack.psapi()["state"] == "caught_up", lambda: stack.tail("souk"))
        at, since = stack.psapi()["pages"]["empty"], time.monotonic()
        until("four polls", 20, lambda: stack.psapi()["pages"]["empty"] >= at + 4)
        assert time.monotonic() - since > 3, "the new period is in force"
        # Nothing of a configuration that changes more than that.
        stack.configure({"batch": {"age_ms": 400}, "leagues": ["Standard", "Hardcore"], "sources": {"psapi": {"period_s": 0.2}}})
        refused = souk(stack, "ctl", "reload", code=1).stderr
        assert "batch.age_ms differs and needs a restart" in refused and "leagues differs and needs a restart" in refused
        assert "period_s" not in refused
        assert stack.metric("souk_config_last_reload_successful") == 0
        at = stack.psapi()["pages"]["empty"]
        time.sleep(1.5)
        assert stack.psapi()["pages"]["empty"] <= at + 2
        # Nor of one that cannot be read; many calls are few readings.
        stack.config_file.write_text("sources:\n  psapi:\n    perod_s: 1\n")
        before = stack.metric("souk_config_reloads_total")
        for _ in range(50):
            stack.processes["souk"].send_signal(signal.SIGHUP)
        until("it was read", 10, lambda: stack.metric("souk_config_reloads_total") > before)
        assert "souk.yaml:3: " in stack.log()
        stack.config = good
        stack.configure({})
        souk(stack, "ctl", "reload")
        assert stack.metric("souk_config_last_reload_successful") == 1
        souk(stack, "ctl", "loglevel", "info")
        assert "level is one of" in souk(stack, "ctl", "loglevel", "loud", code=1).stderr
    finally:
        stack.config = good
        stack.configure({})
        stack.freeze(False)


def test_reloads_in_a_row_while_the_store_is_away(stack):
    """Case 61 in small: half of the configurations are no good, ClickHouse hangs, nothing else is disturbed."""
    stack.goes_on()
    stack.processes["clickhouse"].send_signal(signal.SIGSTOP)
    good, pid = stack.config_file.read_text(), stack.processes["souk"].pid
    before, requests = stack.metric("souk_config_reloads_total"), stack.psapi()["pages"]["new"]
    try:
        for i in range(30):
            stack.config_file.write_text(good if i % 2 else "sources: [")
            stack.processes["souk"].send_signal(signal.SIGHUP)
            time.sleep(0.05)
        souk(stack, "ctl", "reload")  # The last one is good: whatever came before has been read by now.
    finally:
        stack.config_file.write_text(good)
        stack.processes["clickhouse"].send_signal(signal.SIGCONT)
    lines = ask(stack.hub, "/metrics")
    refused = int(float(next(l for l in lines.splitlines() if l.startswith('souk_config_reloads_total{result="refused"}')).split()[1]))
    assert refused > 0 and stack.metric("souk_config_reloads_total") - before > 10
    assert stack.metric("souk_config_last_reload_successful") == 1
    assert stack.processes["souk"].pid == pid and stack.processes["souk"].poll() is None
    stack.goes_on()
    assert stack.psapi()["pages"]["new"] > requests
    assert stack.simulator()["violations"] == 0, (stack.folder / "sim/violations.jsonl").read_text()


def test_ctl_drains(stack):
    souk(stack, "ctl", "drain")
    assert stack.processes.pop("souk").wait(20) == 0
    assert souk(stack, "ctl", "reload", code=69)
    rows = stack.query("SELECT DISTINCT state FROM poe_ingest_status FINAL WHERE service = 'psapi' AND stream = 'pc'")
    assert rows == "stopped", rows
    stack.start_souk()

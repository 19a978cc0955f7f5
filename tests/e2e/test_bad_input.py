"""What the world does wrong: each leaves a clear line behind, loses nothing, and is over when the world is right again."""

import json
import pathlib
import re
import socket
import subprocess
import time

import pytest
import stacks
from stacks import CLICKHOUSE, TOP, ask, environment, free_ports, run_souk, stack_of, until

OLD_SERVER = pathlib.Path("/usr/sbin/clickhouse-server")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stack_of(tmp_path_factory.mktemp("bad")) as running:
        until("first rows", 30, lambda: running.count("bronze_public_stash") > 0, lambda: running.tail("souk"))
        yield running


def pages(stack):
    return stack.psapi()["pages"]


def one_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    return lines[0]


# What an upstream may answer. Each is met as often as asked for; the cursor stays; then the stream goes on.

INVALID = {  # fault: words of the reason
    "bad_json": "psapi: ",
    "wrong_type": '"stashes" is not an array',
    "html200": "a page for people instead of data",
    "empty_object": '"next_change_id" is not a change id',
}


@pytest.mark.parametrize("fault", INVALID)
def test_an_answer_that_is_no_page_is_refused(stack, fault):
    before, met = pages(stack), stack.simulator()["faults_met"]
    stack.fault(fault, count=1)
    until("it is refused", 20, lambda: pages(stack)["invalid"] == before["invalid"] + 1, lambda: stack.tail("souk"))
    assert stack.simulator()["faults_met"] == met + 1
    stack.goes_on()
    newest = "SELECT error FROM bronze_requests WHERE service = 'psapi' AND error != '' ORDER BY ts DESC, lsn DESC LIMIT 1"
    until("the request is stored with its reason", 10, lambda: INVALID[fault] in stack.query(newest),
          lambda: stack.query(newest))
    stack.is_clean()


@pytest.mark.parametrize("fault, value", [("truncate", 300), ("reset", 300), ("gzip_bomb", 64), ("big_header", 1 << 20)])
def test_a_broken_transfer_is_asked_again(stack, fault, value):
    before, held = stack.psapi()["errors"], stack.metric("process_resident_memory_bytes")
    stack.fault(fault, count=1, value=value)
    until("it has failed", 20, lambda: stack.psapi()["errors"] == before + 1, lambda: json.dumps(stack.psapi()) + stack.tail("souk"))
    stack.goes_on()
    # What it grew: a bomb of 64 MiB is given up at 16, and a sanitized build keeps all that was freed on the way there.
    assert stack.metric("process_resident_memory_bytes") - held < 100 << 20
    stack.is_clean()


@pytest.mark.parametrize("value", [500, {"status": 503, "retry_after": "2"}, {"status": 429, "retry_after": "2"}])
def test_an_upstream_in_trouble_is_left_alone_for_a_while(stack, value):
    status = value if isinstance(value, int) else value["status"]
    before = stack.psapi()["errors"]
    asked = stack.count("bronze_requests", f"status = {status}")
    stack.fault("status", count=1, value=value)
    until("it has failed", 20, lambda: stack.psapi()["errors"] == before + 1, lambda: stack.tail("souk"))
    stack.goes_on()
    until("the request is stored", 10, lambda: stack.count("bronze_requests", f"status = {status}") == asked + 1)
    if not isinstance(value, int):
        last = f"(SELECT max(ts) FROM bronze_requests WHERE service = 'psapi' AND status = {status})"
        later = f"service = 'psapi' AND requested_at > {last}"
        until("the next request is stored", 10, lambda: stack.count("bronze_requests", later))
        gap = stack.query(f"SELECT min(requested_at) - {last} FROM bronze_requests WHERE {later}")
        assert float(gap) >= 2, f"asked again after {gap} s"
    stack.is_clean()


def test_notes_that_are_no_prices_leave_their_items_unpriced(stack):
    odd = "price_none IN ('unreadable', 'unset', 'out_of_range')"
    unpriced, counted = stack.count("bronze_public_stash", odd), stack.metric("souk_items_unpriced_total")
    stack.fault("bad_price", count=2, value=3)
    until("the items are there, with the reason", 20, lambda: stack.count("bronze_public_stash", odd) > unpriced,
          lambda: stack.tail("souk"))
    assert stack.metric("souk_items_unpriced_total") > counted
    assert stack.count("bronze_quarantine", "source = 'psapi' AND reason = 'bad_price'") == 0
    assert stack.count("bronze_public_stash", "(price_none = '') != (price_currency != '')") == 0
    # No price that nobody could mean has got through.
    assert stack.count("bronze_public_stash", "price_currency != '' AND (price_amount <= 0 OR price_lot <= 0)") == 0
    stack.goes_on()
    stack.is_clean()


def test_a_cursor_that_goes_back_is_refused(stack):
    stack.settle()  # So that the cursor stands still by itself.
    cursor, rewinds = stack.psapi()["cursor"], pages(stack)["rewind"]
    stack.fault("rewind", for_ms=6000)
    alert = until("an alert", 20, lambda: [a for a in stack.alerts("rewind") if a["status"] == "firing"], lambda: stack.tail("souk"))[0]
    assert alert["sev"] == "critical"
    assert stack.psapi()["state"] == "frozen"
    assert (stack.psapi()["cursor"], pages(stack)["rewind"] > rewinds) == (cursor, True)
    assert stack.metric("souk_cursor_regressions_total") >= 1
    stack.freeze(False)
    stack.goes_on(40)
    until("the alert is over", 10, lambda: not [a for a in stack.alerts("rewind") if a["status"] == "firing"])
    assert stack.query(f"SELECT count() FROM bronze_ingest_checkpoints WHERE last_cursor_id = '{cursor}' AND rows > 0") == "1"
    stack.is_clean()


def test_the_same_cursor_with_new_content_is_refused(stack):
    before = pages(stack)["repeat"]
    stack.fault("repeat", count=1)
    until("it is refused", 20, lambda: pages(stack)["repeat"] == before + 1, lambda: stack.tail("souk"))
    stack.goes_on()
    stack.is_clean()


def test_an_upstream_that_never_answers_is_given_up(stack):
    before = stack.psapi()["errors"]
    stack.fault("stall", count=1)
    until("it is given up", 45, lambda: stack.psapi()["errors"] == before + 1, lambda: json.dumps(stack.psapi()))
    stack.goes_on()
    until("the request is stored", 10, lambda: stack.count("bronze_requests", "service = 'psapi' AND status = 0 AND response_ms > 5000 "
                                                           "AND error != ''") == 1)
    stack.is_clean()


def test_a_block_page_ends_all_asking_even_after_a_restart(tmp_path):
    """Cloudflare's 403 is about our address: asking on would make it worse."""
    with stack_of(tmp_path, {"sources": {"poe_ninja": {"enabled": False}}}) as stack:
        stack.goes_on()
        stack.fault("status", count=1, value=403)
        alert = until("an alert", 20, lambda: stack.alerts("disabled"), lambda: stack.tail("souk"))[0]
        assert alert["sev"] == "critical"
        assert "block page" in alert["body"]
        asked = stack.simulator()["requests"]["public-stash-tabs"]
        assert stack.stop("souk") == 0
        stack.start_souk()
        until("it still knows", 10, lambda: [a for a in stack.alerts("disabled") if a["status"] == "firing"])
        time.sleep(2)
        assert stack.simulator()["requests"]["public-stash-tabs"] == asked
        assert stack.audit().returncode == 0, stack.audit().stdout


# The configuration.

def test_an_unknown_key_is_named_with_its_line_and_its_neighbour(tmp_path):
    lines = (TOP / "deploy/souk.yaml").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("period_s: 10"))
    lines[at] = lines[at].replace("period_s", "perod_s")
    (tmp_path / "souk.yaml").write_text("\n".join(lines) + "\n")
    for verb in ("check", "run"):
        done = run_souk(verb, config=tmp_path / "souk.yaml")
        assert done.returncode == 78
        said = one_line(done.stderr)
        for word in (f"souk.yaml:{at + 1}", "perod_s", "period_s"):
            assert word in said, said


def test_going_live_without_a_contact_is_refused(tmp_path):
    text = re.sub(r"(?m)^live:.*$", "live: true", (TOP / "deploy/souk.yaml").read_text())
    (tmp_path / "souk.yaml").write_text(text)
    done = run_souk("run", config=tmp_path / "souk.yaml")
    assert done.returncode == 78
    assert "agent.contact" in one_line(done.stderr)
    assert not (tmp_path / "state").exists()


def test_a_port_in_use_is_named(tmp_path):
    with stack_of(tmp_path, start=False) as stack, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        stack.configure({"hub": {"port": port}})
        done = run_souk("run", config=stack.config_file)
        assert done.returncode not in (0, 2, 78)
        said = one_line(done.stderr)
        assert str(port) in said and "in use" in said, said
        assert not (tmp_path / "souk").exists(), "the state was touched"


def test_a_second_souk_on_the_same_state_names_the_first(tmp_path):
    with stack_of(tmp_path, start=False) as stack:
        stack.start_sim()
        stack.start_souk()
        first = stack.processes["souk"].pid
        other = dict(stack.config, hub={"host": "127.0.0.1", "port": free_ports(1)[0]})
        (tmp_path / "other.yaml").write_text(json.dumps(other))
        done = run_souk("run", config=tmp_path / "other.yaml")
        assert done.returncode == 75
        assert f"pid {first}" in done.stderr.splitlines()[-1], done.stderr
        assert stack.psapi()["state"] != "", "the first goes on"


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with stack_of(tmp_path, {"state_dir": str(tmp_path / "file" / "state")}, start=False) as stack:
        done = run_souk("run", config=stack.config_file)
        assert done.returncode in (73, 74)
        assert str(tmp_path / "file") in done.stderr.splitlines()[-1], done.stderr


def test_a_state_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with stack_of(tmp_path, {"state_dir": str(tmp_path / "file")}, start=False) as stack:
        done = run_souk("run", config=stack.config_file)
        assert done.returncode in (73, 74)
        assert str(tmp_path / "file") in done.stderr.splitlines()[-1], done.stderr


def test_a_missing_library_says_what_to_run(tmp_path):
    done = subprocess.run([CLICKHOUSE, "--path", tmp_path / "data", "--tcp-port", "0", "--http-port", "0"], capture_output=True,
                          text=True, timeout=20, env=environment(SOUK_LIBCHDB=str(tmp_path / "nonexistent.so")))
    assert done.returncode == 69
    said = one_line(done.stderr)
    assert "libchdb" in said and "deploy/install" in said, said


# ClickHouse.

def test_a_store_that_is_away_at_the_start_gets_everything_later(tmp_path):
    with stack_of(tmp_path, start=False) as stack:
        stack.start_sim()
        stack.start_souk()
        stack.goes_on()
        alert = until("an alert", 20, lambda: stack.alerts("store_away"), lambda: stack.tail("souk"))[0]
        assert alert["sev"] == "warning"
        assert stack.status()["store"]["state"] == "away"
        assert stack.status()["spool"]["unacked_bytes"] > 0
        stack.goes_on()
        stack.start_clickhouse(schema=False)
        # A database without tables holds the data: what is missing, and what to run.
        until("it says what is missing", 20, lambda: stack.status()["store"]["state"] == "held", lambda: stack.tail("souk"))
        done = run_souk("schema", "apply", "--yes", config=stack.config_file, seconds=60)
        assert done.returncode == 0, done.stderr
        until("it is connected", 20, lambda: stack.status()["store"]["state"] == "connected", lambda: stack.tail("souk"))
        until("the alert is over", 20, lambda: not [a for a in stack.alerts("store_away") if a["status"] == "firing"])
        stack.is_clean()
        assert stack.count("bronze_public_stash") > 0


@pytest.mark.skipif(not OLD_SERVER.exists(), reason="Debian's clickhouse-server is not installed")
def test_a_server_that_is_too_old_is_named_and_gets_nothing(tmp_path):
    with stack_of(tmp_path, start=False) as stack:
        password = "of-the-old-and-of-the-new"
        stack.password_file().write_text(password)
        stacks.LOGINS[stack.http] = {"X-ClickHouse-User": "souk", "X-ClickHouse-Key": password}
        folder = tmp_path / "old"
        folder.mkdir()
        (folder / "users.xml").write_text(
            "<yandex><profiles><default/></profiles><quotas><default/></quotas><users><souk>"
            f"<password>{password}</password>"
            "<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></souk></users></yandex>")
        (folder / "config.xml").write_text(
            f"<yandex><logger><level>warning</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog></logger>"
            f"<tcp_port>{stack.native}</tcp_port><http_port>{stack.http}</http_port><listen_host>127.0.0.1</listen_host>"
            f"<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><users_config>{folder}/users.xml</users_config>"
            "<default_profile>default</default_profile><default_database>default</default_database>"
            "<mark_cache_size>5368709</mark_cache_size></yandex>")
        stack.start("old", OLD_SERVER, f"--config-file={folder}/config.xml")
        until("the old server answers", 60, lambda: ask(stack.http, "/ping"), lambda: stack.tail("old"))
        ask(stack.http, "/", "CREATE DATABASE poe_trade")
        stack.start_sim()
        stack.start_souk()
        store = until("it says so", 20, lambda: (s := stack.status()["store"])["state"] == "held" and s, lambda: stack.tail("souk"))
        assert re.search(r"18\.16\.\d+ .*is too old: souk needs ClickHouse 24\.3 or newer", store["last_error"]), store["last_error"]
        stack.goes_on()
        assert ask(stack.http, "/", "SELECT count() FROM system.tables WHERE database = 'poe_trade'").strip() == "0"
        assert stack.status()["spool"]["unacked_bytes"] > 0
        # Replaced by one that is not, it has them all.
        stack.stop("old", 30)
        stack.start_clickhouse()
        stack.is_clean()


def test_a_table_that_forgets_what_it_got_holds_the_data(tmp_path):
    with stack_of(tmp_path) as stack:
        stack.goes_on()
        assert stack.stop("souk") == 0
        stack.query("ALTER TABLE bronze_public_stash MODIFY SETTING non_replicated_deduplication_window = 0")
        rows = stack.count("bronze_public_stash")
        stack.start_souk()
        store = until("it is held", 20, lambda: (s := stack.status()["store"])["state"] == "held" and s, lambda: stack.tail("souk"))
        assert re.search(r"bronze_public_stash has no deduplication window.*ALTER TABLE", store["last_error"]), store["last_error"]
        stack.goes_on()
        assert stack.count("bronze_public_stash") == rows
        stack.query("ALTER TABLE bronze_public_stash MODIFY SETTING non_replicated_deduplication_window = 10000")
        until("it goes on", 30, lambda: stack.count("bronze_public_stash") > rows, lambda: stack.tail("souk"))
        stack.is_clean()


def test_the_upstream_away_at_the_start_is_waited_for(tmp_path):
    with stack_of(tmp_path, {"sources": {"poe_ninja": {"enabled": False}}}, start=False) as stack:
        stack.start_clickhouse()
        stack.start_souk()
        until("a request has failed", 20, lambda: stack.psapi()["errors"] > 0, lambda: stack.tail("souk"))
        until("it says why", 5, lambda: stack.psapi()["last_error"])
        stack.start_sim()
        stack.goes_on(60)
        stack.is_clean()

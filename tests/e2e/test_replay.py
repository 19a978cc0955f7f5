"""souk replay against the real parts: what souk fetched comes out of its spool, out of the raw pages in
ClickHouse and out of files of those pages as the same rows, and goes into another database once."""

import json
import os
import pty
import subprocess
import time
import urllib.parse

import pytest
import stacks

DATA = ("bronze_public_stash", "bronze_poeninja_snapshot", "bronze_quarantine", "raw_public_stash_pages")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A souk that has taken some pages of each source and is still running, the market frozen."""
    made = stacks.Stack(tmp_path_factory.mktemp("replay"))
    try:
        made.start_all()
        stacks.until("some pages of both", 60, lambda: made.psapi()["pages"]["new"] >= 12
                     and made.count("bronze_poeninja_snapshot") > 0, lambda: made.tail("souk"))
        made.settle()
        yield made
    finally:
        made.end()


def replay(stack, *arguments, code=0, seconds=120):
    done = stacks.run_souk("--json", "replay", *arguments, config=stack.config_file, seconds=seconds)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def table(result, name):
    return next((t for t in result["tables"] if t["name"] == name), {"rows": 0, "stored": 0, "rows_hash": None})


def test_three_replays_of_a_spool_in_use_are_equal(stack):
    """Up to a position: a quiet upstream is still asked, and each request is a record."""
    end = str(stack.status()["spool"]["synced_lsn"])
    first, *others = [replay(stack, "--to", end) for _ in range(3)]
    assert all(other == first for other in others)
    assert first["judged_otherwise"] == first["damaged_ranges"] == first["undecodable_pages"] == 0
    assert first["pages"] > 12 and first["requests"] > first["pages"]


def test_a_replay_makes_the_rows_that_souk_stored(stack):
    end = stack.status()["spool"]["synced_lsn"]  # poe.ninja's values are repeated while we look.
    stacks.until("all of it is stored", 30, lambda: stack.has_stored(end))
    result = replay(stack, "--to", str(end))
    for name in DATA:
        assert table(result, name)["rows"] == stack.count(name, f"lsn < {end}"), name


def test_spool_raw_pages_and_files_of_them_make_equal_rows(stack, tmp_path):
    spool, raw = replay(stack, "--source", "psapi"), replay(stack, "--pages")
    assert raw["feed"] == "pages" and raw["pages"] == stack.count("raw_public_stash_pages")
    # The raw pages have the log's positions, so that even these agree.
    for name in ("bronze_public_stash", "raw_public_stash_pages"):
        assert table(spool, name) == table(raw, name), name
    assert raw["rows_hash"] == spool["rows_hash"]
    folder = tmp_path / "psapi"
    folder.mkdir()
    names = stack.query("SELECT lsn, realm, toUnixTimestamp64Milli(ingested_at), cursor FROM raw_public_stash_pages "
                        "ORDER BY lsn FORMAT TSV").splitlines()
    for row in names:
        lsn, realm, ms, cursor = row.split("\t")
        body = stacks.ask(stack.http, "/?" + urllib.parse.urlencode({"database": stacks.DATABASE, "query": (
            f"SELECT payload FROM raw_public_stash_pages WHERE lsn = {lsn} FORMAT RawBLOB")}))
        (folder / f"page-{realm}@{ms}@{cursor}.json").write_bytes(body.encode())
    files = replay(stack, "--bodies", tmp_path)
    assert files["pages"] == raw["pages"] and files["rows_hash"] == raw["rows_hash"]


def test_a_database_takes_each_page_once(stack):
    end = str(stack.status()["spool"]["synced_lsn"])
    first = replay(stack, "--to", end, "--into", "again")
    for made in first["tables"]:
        assert made["stored"] == made["rows"] == int(stack.query(f"SELECT count() FROM again.{made['name']}"))
    second = replay(stack, "--to", end, "--into", "again")
    assert second["rows_hash"] == first["rows_hash"] and second["log_hash"] == first["log_hash"]
    assert [t["stored"] for t in second["tables"]] == [0] * len(second["tables"])
    assert second["already_stored"] == second["requests"] == first["requests"]
    third = replay(stack, "--pages", "--into", "again")  # The same pages from elsewhere.
    assert third["already_stored"] == third["pages"] > 0
    columns = "cursor, next_cursor, listing_id, note, price_amount, mods_hash, extra, lsn, ord"
    for name in ("poe_trade", "again"):
        assert int(stack.query(f"SELECT count() FROM {name}.raw_public_stash_pages")) == third["pages"]
    assert stack.query(f"SELECT groupBitXor(cityHash64({columns})) FROM poe_trade.bronze_public_stash") == stack.query(
        f"SELECT groupBitXor(cityHash64({columns})) FROM again.bronze_public_stash")


def test_a_database_of_replays_keeps_rows_of_any_age(stack, tmp_path):
    """TTL would take them at once, and the list of replays would say for ever that they are there."""
    folder = tmp_path / "psapi"
    folder.mkdir()
    for n, row in enumerate(stack.query("SELECT lsn, cursor FROM raw_public_stash_pages ORDER BY lsn LIMIT 3 FORMAT TSV")
                            .splitlines()):
        lsn, cursor = row.split("\t")
        body = stacks.ask(stack.http, "/?" + urllib.parse.urlencode({"database": stacks.DATABASE, "query": (
            f"SELECT payload FROM raw_public_stash_pages WHERE lsn = {lsn} FORMAT RawBLOB")}))
        (folder / f"page-pc@{1577836800000 + n}@{cursor}.json").write_bytes(body.encode())  # 2020.
    first = replay(stack, "--bodies", tmp_path, "--into", "old")
    assert stack.query("SELECT count() FROM system.tables WHERE database = 'old' AND position(engine_full, ' TTL ') > 0") == "0"
    stored = [t for t in first["tables"] if t["rows"] > 0]
    assert {"bronze_public_stash", "raw_public_stash_pages"} <= {t["name"] for t in stored}
    for made in stored:
        stack.query(f"OPTIMIZE TABLE old.{made['name']} FINAL")
        assert made["stored"] == made["rows"] == int(stack.query(f"SELECT count() FROM old.{made['name']}")), made["name"]
    second = replay(stack, "--bodies", tmp_path, "--into", "old")
    assert second["already_stored"] == second["pages"] == 3 and not any(t["stored"] for t in second["tables"])
    # As an older souk left it: what its list says may be gone.
    stack.query("ALTER TABLE old.bronze_public_stash MODIFY TTL toDateTime(ingested_at) + INTERVAL 90 DAY")
    assert "old.bronze_public_stash has a TTL" in replay(stack, "--bodies", tmp_path, "--into", "old", code=1)
    # The live one keeps its TTL, and takes none of them.
    before = stack.count("bronze_public_stash")
    words = replay(stack, "--bodies", tmp_path, "--into", stacks.DATABASE, "--force", code=1)
    assert "older than its TTL" in words and stack.count("bronze_public_stash") == before
    assert int(stack.query(f"SELECT count() FROM system.tables WHERE database = '{stacks.DATABASE}' "
                           "AND position(engine_full, ' TTL ') > 0")) > 5


def test_the_configured_database_is_refused(stack):
    before = stack.count("raw_public_stash_pages")
    assert "--force" in replay(stack, "--into", stacks.DATABASE, code=2)
    assert stack.count("raw_public_stash_pages") == before
    # With --force the rows come a second time, as the help says: souk's own are in no list of replays.
    replay(stack, "--pages", "--into", stacks.DATABASE, "--force")
    assert stack.count("raw_public_stash_pages") == 2 * before


def test_no_clickhouse_and_no_folder_are_told_apart(stack, tmp_path):
    away = tmp_path / "away.yaml"
    port = stacks.free_ports(1)[0]
    away.write_text(json.dumps({"state_dir": str(tmp_path), "clickhouse": {"host": "127.0.0.1", "port": port}}))
    assert stacks.run_souk("replay", "--pages", config=away).returncode == 69
    assert stacks.run_souk("replay", config=away).returncode == 74
    assert "there is no log in" in stacks.run_souk("replay", "--spool", tmp_path, config=away).stderr
    assert stacks.run_souk("replay", "--bodies", tmp_path, config=away).returncode == 74
    for wrong in (["--from", "yesterday"], ["--speed", "0"], ["--into", "a-b"], ["--pages", "--spool", "x"], ["what"]):
        assert stacks.run_souk("replay", *wrong, config=away).returncode == 2, wrong


def test_replay_goes_where_the_configuration_says(stack, tmp_path):
    """Over the list of hosts, and over TLS where it is asked for: nothing is said in clear text then."""
    config = json.loads(stack.config_file.read_text())
    clickhouse = config["clickhouse"]
    hosts = [f"127.0.0.1:{stacks.free_ports(1)[0]}", f"127.0.0.1:{clickhouse['port']}"]
    listed, secure = tmp_path / "listed.yaml", tmp_path / "secure.yaml"
    listed.write_text(json.dumps(config | {"clickhouse": clickhouse | {"host": "no-such-host.invalid", "hosts": hosts}}))
    secure.write_text(json.dumps(config | {"clickhouse": clickhouse | {"tls": {"enabled": True}}}))
    assert stacks.run_souk("replay", "--pages", config=listed, seconds=60).returncode == 0
    refused = stacks.run_souk("replay", "--pages", config=secure, seconds=60)
    assert refused.returncode == 69 and "TLS" in refused.stderr


def two_pages(folder, apart_ms):
    """A recording of two pages and a configuration for it."""
    (folder / "psapi").mkdir()
    for n in range(2):
        (folder / "psapi" / f"page-pc@{1763700000000 + n * apart_ms}@{n}-1.json").write_text(
            json.dumps({"next_change_id": f"{n + 1}-1", "stashes": [{"id": "s", "public": True, "items": []}]}))
    config = folder / "souk.yaml"
    config.write_text(json.dumps({"state_dir": str(folder / "none")}))
    return config


def test_speed_paces_by_the_time_between_pages(tmp_path):
    config, took, told = two_pages(tmp_path, 8000), {}, set()
    for speed in ("4", "max"):
        started = time.monotonic()
        done = stacks.run_souk("replay", "--bodies", tmp_path, "--speed", speed, config=config)
        took[speed] = time.monotonic() - started
        assert done.returncode == 0 and "\r" not in done.stderr
        told.add(done.stdout)
    assert took["4"] >= 2 > took["max"] and len(told) == 1


def test_progress_is_for_terminals(tmp_path):
    config = two_pages(tmp_path, 1000)
    ours, its = pty.openpty()
    done = subprocess.run([stacks.SOUK, "--config", config, "replay", "--bodies", tmp_path], stdout=subprocess.PIPE, stderr=its,
                          timeout=20, env=stacks.environment())
    os.close(its)
    assert done.returncode == 0 and b"records" not in done.stdout
    assert b"1 records, 2025-11-21T04:40:00.000Z" in os.read(ours, 65536)
    os.close(ours)


def test_a_replay_killed_anywhere_is_finished_by_the_next(stack, tmp_path):
    end = str(stack.status()["spool"]["synced_lsn"])
    config = tmp_path / "souk.yaml"
    config.write_text(json.dumps(stack.config | {"batch": {"rows": 100, "age_ms": 300}}))  # Many inserts.
    want = {t["name"]: t["rows"] for t in replay(stack, "--to", end)["tables"]}
    names, total = ", ".join(f"'{name}'" for name in want), sum(want.values())

    def stored(into):
        return int(stack.query(f"SELECT toUInt64(sum(total_rows)) FROM system.tables WHERE database = '{into}' AND name IN ({names})"))

    def start(into):
        return subprocess.Popen([stacks.SOUK, "--config", config, "--json", "replay", "--to", end, "--into", into],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=stacks.environment())
    went_on = False
    for n in range(20):  # Until one was killed in the middle and the next left out what it had noted.
        into = f"killed{n}"
        process = start(into)
        stacks.until("much is stored, or all", 30, lambda: stored(into) > total * 0.5 or process.poll() is not None)
        process.kill()
        process.communicate()
        if not 0 < stored(into) < total:
            continue
        process = start(into)
        told = process.communicate()[0]
        assert process.returncode == 0
        for name, rows in want.items():
            got = stack.query(f"SELECT count(), uniqExact(src, lsn, ord) FROM {into}.{name} FORMAT TSV").split()
            assert got == [str(rows)] * 2, name
        went_on = sum(t["stored"] for t in json.loads(told)["tables"]) < total
        if went_on:
            break
    assert went_on


def test_raw_pages_that_are_no_pages_are_quarantined(stack):
    before = replay(stack, "--pages")
    stack.query("INSERT INTO raw_public_stash_pages (ingested_at, realm, cursor, next_cursor, payload, src, lsn, ord) VALUES "
                "(now64(3) - INTERVAL 2 DAY, 'pc', 'a', 'b', '<html>', 'psapi', 18446744073709551000, 0), "
                "(now64(3) - INTERVAL 2 DAY, 'a realm that nobody knows', '', '', '', '', 7, 0), "
                "(now64(3) - INTERVAL 2 DAY, 'pc', 'a', 'b', '{}', 'psapi', 7, 0)")
    after = replay(stack, "--pages")
    assert after["pages"] == before["pages"] + 3 and after["undecodable_pages"] == 3
    assert after["quarantined"].get("undecodable_page") == 3
    assert table(after, "bronze_public_stash")["rows"] == table(before, "bronze_public_stash")["rows"]
    yesterday = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 86400))
    assert replay(stack, "--pages", "--to", yesterday)["pages"] == 3
    assert replay(stack, "--pages", "--from", yesterday)["rows_hash"] == before["rows_hash"]

"""souk schema, verify and check --env against a real ClickHouse: what is broken on purpose is named.

The simulator, ClickHouse and souk run once; then the tables are hurt, one way a test, and put back.
"""

import json
import pathlib
import re
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import stacks  # noqa: E402

TABLES = ("bronze_ingest_checkpoints", "bronze_poeninja_snapshot", "bronze_public_stash", "bronze_quarantine",
          "bronze_requests", "raw_public_stash_pages")


def souk(stack, *arguments, code=0, config=None):
    done = stacks.run_souk(*arguments, config=config or stack.config_file, seconds=120)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout


def verify(stack, *arguments, code=0):
    return json.loads(souk(stack, "verify", "--json", *arguments, code=code))


def table(report, name):
    return next(t for t in report["tables"] if t["table"] == name)


def diff(stack, code=1):
    return json.loads(souk(stack, "schema", "diff", "--json", code=code))["differences"]


def checks(stack, code, *arguments, config=None):
    found = json.loads(souk(stack, "check", "--env", "--json", *arguments, code=code, config=config))["checks"]
    return {c["name"]: c for c in found}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    running = stacks.Stack(tmp_path_factory.mktemp("verbs"), {"leagues": ["Standard"]})
    try:
        running.start_clickhouse()
        running.start_sim()
        running.fault("bad_price", count=20, value=6)  # Every other of these items is impossible, and so refused.
        running.start_souk()
        stacks.until("all kinds of rows are stored", 60,
                     lambda: all(running.count(t) > 20 for t in TABLES), lambda: running.tail("souk"))
        assert running.stop("souk") == 0
        running.stop("sim")
        yield running
    finally:
        running.end()


@pytest.fixture
def kept(stack):
    """Whatever a test does to the tables and to the log is undone."""
    stack.query("CREATE DATABASE IF NOT EXISTS kept")
    for t in TABLES:
        stack.query(f"CREATE TABLE kept.{t} AS {t} ENGINE = MergeTree ORDER BY tuple()")
        stack.query(f"INSERT INTO kept.{t} SELECT * FROM {t}")
    log = stack.folder / "souk" / "spool"
    shutil.copytree(log, stack.folder / "kept")
    yield stack
    for t in TABLES + ("ops_alert_log", "ops_drift_log"):
        stack.query(f"DROP TABLE IF EXISTS {t} SYNC")
    stack.query("DROP TABLE souk_migrations SYNC")
    souk(stack, "schema", "apply", "--yes")
    for t in TABLES:
        stack.query(f"INSERT INTO {t} SELECT * FROM kept.{t}")
    stack.query("DROP DATABASE kept SYNC")
    shutil.rmtree(log)
    (stack.folder / "kept").rename(log)


def one_row(stack, name, where="1"):
    src, lsn, ord_ = stack.query(f"SELECT src, lsn, ord FROM {name} WHERE {where} ORDER BY lsn, ord LIMIT 1 OFFSET 3").split("\t")
    return {"src": src, "lsn": int(lsn), "ord": int(ord_)}


def at(row):
    return f"lsn = {row['lsn']} AND ord = {row['ord']}"


# verify


def test_verify_finds_a_quiet_run_equal(stack):
    report = verify(stack)
    assert report["equal"] and not report["differences"]
    for name in TABLES:
        t = table(report, name)
        assert t["rows"] == t["equal"] == stack.count(name)
        assert t["batches"] == t["batches_equal"] > 0
        assert not any(t[k] for k in ("missing", "twice", "wrong", "uncovered", "pending", "expired", "damaged"))
    text = souk(stack, "verify")
    assert text.splitlines()[-1] == "equal"
    assert report["store_id"] in text


@pytest.mark.parametrize("name", TABLES)
def test_verify_names_a_row_that_is_missing(kept, name):
    row = one_row(kept, name)
    kept.query(f"ALTER TABLE {name} DELETE WHERE {at(row)} SETTINGS mutations_sync = 2")
    report = verify(kept, code=1)
    (found,) = report["differences"]
    assert found["table"] == name and found["sealed"] and found["missing"] == 1
    assert found["first_lsn"] <= row["lsn"] <= found["last_lsn"]
    assert found["expected"] == found["in_log"] == found["found"] + 1
    assert found["rows"] == [{"what": "missing"} | row]
    assert table(report, name)["missing"] == 1 and table(report, name)["batches_different"] == 1
    assert f"missing    {row['src']}/{row['lsn']}/{row['ord']}" in souk(kept, "verify", code=1)


@pytest.mark.parametrize("name", TABLES)
def test_verify_names_a_row_that_is_there_twice(kept, name):
    row = one_row(kept, name)
    kept.query(f"INSERT INTO {name} SELECT * FROM {name} WHERE {at(row)}")
    report = verify(kept, code=1)
    (found,) = report["differences"]
    assert found["table"] == name and found["twice"] == 1 and found["rows"] == [{"what": "twice"} | row]
    assert found["found"] == found["expected"] + 1
    assert table(report, name)["equal"] == table(report, name)["rows"]


@pytest.mark.parametrize("name, change", [
    ("bronze_public_stash", "price_amount = price_amount + toDecimal64('0.000001', 6)"),
    ("bronze_public_stash", "stash_type = concat(stash_type, ' ')"),
    ("bronze_poeninja_snapshot", "sparkline = arrayConcat(sparkline, [toFloat32(0)])"),
    ("bronze_poeninja_snapshot", "chaosEquivalent = chaosEquivalent + 1e-9"),
    ("bronze_requests", "requested_at = requested_at + INTERVAL 1 MILLISECOND"),
    ("raw_public_stash_pages", "payload = concat(payload, '\\n')"),
    ("bronze_quarantine", "src = 'other'"),
    ("bronze_ingest_checkpoints", "retry_count = retry_count + 1"),
])
def test_verify_names_a_row_with_another_content(kept, name, change):
    row = one_row(kept, name, "chaosEquivalent < 1000" if "chaos" in change else "1")
    kept.query(f"ALTER TABLE {name} UPDATE {change} WHERE {at(row)} SETTINGS mutations_sync = 2")
    (found,) = verify(kept, code=1)["differences"]
    assert found["table"] == name and found["wrong"] == 1 and found["rows"] == [{"what": "wrong"} | row]
    assert found["missing"] == found["twice"] == 0 and found["note"] == ""  # The log makes what was sealed.


def test_verify_names_rows_of_no_batch(kept):
    """One on a page that is known, one at a position that this log never had, one between its pages."""
    row = one_row(kept, "bronze_requests")
    known, far, between = dict(row, ord=77), dict(row, lsn=1, ord=0), dict(row, lsn=row["lsn"] + 1, ord=0)
    middle = kept.query(f"SELECT ts FROM bronze_requests WHERE {at(row)}")
    for extra in (known, far, between):
        kept.query(f"INSERT INTO bronze_requests SELECT * REPLACE (toUInt64({extra['lsn']}) AS lsn, toUInt32({extra['ord']}) AS ord, "
                   f"now64(3) - INTERVAL 1 DAY AS requested_at, "
                   f"toDateTime64('{middle}', 3, 'UTC') AS ts) FROM (SELECT * FROM bronze_requests WHERE {at(row)})")
    report = verify(kept, code=1)
    (found,) = report["differences"]
    assert not found["sealed"] and found["uncovered"] == 3 == table(report, "bronze_requests")["uncovered"]
    assert {(r["what"], r["lsn"], r["ord"]) for r in found["rows"]} == {
        ("uncovered", x["lsn"], x["ord"]) for x in (known, far, between)}
    assert table(report, "bronze_requests")["equal"] == table(report, "bronze_requests")["rows"]


def test_verify_names_every_batch_of_a_partition_that_is_gone(kept):
    partitions = kept.query("SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = 'poe_trade' "
                            "AND table = 'bronze_public_stash'").split()
    lost = kept.count("bronze_public_stash", f"_partition_id = '{partitions[0]}'")
    kept.query(f"ALTER TABLE bronze_public_stash DROP PARTITION ID '{partitions[0]}'")
    report = verify(kept, code=1)
    assert table(report, "bronze_public_stash")["missing"] == lost == sum(d["missing"] for d in report["differences"])
    assert all(len(d["rows"]) == min(20, d["missing"]) for d in report["differences"])


def test_verify_judges_only_the_time_that_it_is_asked_for(kept):
    row = one_row(kept, "bronze_requests")
    kept.query(f"ALTER TABLE bronze_requests DELETE WHERE {at(row)} SETTINGS mutations_sync = 2")
    first, last = (kept.query(f"SELECT formatDateTime({f}(ts) + {n}, '%Y-%m-%dT%H:%i:%SZ') FROM bronze_requests")
                   for f, n in (("min", -1), ("max", 1)))
    assert verify(kept, "--since", first, "--until", last, code=1)["n_differences"] == 1
    middle = kept.query("SELECT formatDateTime(ts + 1, '%Y-%m-%dT%H:%i:%SZ') FROM "
                        f"(SELECT max(ts) AS ts FROM kept.bronze_requests WHERE lsn <= {row['lsn']})")
    report = verify(kept, "--since", middle)
    assert report["equal"] and 0 < table(report, "bronze_requests")["rows"] < kept.count("bronze_requests")
    assert verify(kept, "--until", "2020-01-01")["records"] > 0
    souk(kept, "verify", "--since", "soon", code=2)


def test_verify_says_that_rows_are_gone_by_their_ttl(kept):
    n = kept.count("bronze_quarantine")
    kept.query("ALTER TABLE bronze_quarantine MODIFY TTL toDateTime(ts) + INTERVAL 0 DAY SETTINGS mutations_sync = 2")
    kept.query("OPTIMIZE TABLE bronze_quarantine FINAL")
    assert kept.count("bronze_quarantine") == 0
    report = verify(kept, code=1)
    assert not report["equal"] and report["n_differences"] == 0
    assert table(report, "bronze_quarantine")["expired"] == n
    text = souk(kept, "verify", code=1)
    assert "past the table's TTL" in text and f"not equal: {n} rows were dropped" in text


def test_verify_says_that_a_column_is_gone(kept):
    kept.query("ALTER TABLE bronze_requests DROP COLUMN error")
    (found,) = verify(kept, code=1)["differences"]
    assert found["table"] == "bronze_requests" and "column error" in found["note"] and "schema diff" in found["note"]


def test_verify_counts_what_is_lost_from_the_log(kept):
    """A bit of a page's body: its rows are in ClickHouse, and the log can no longer say what they are."""
    lsn = int(kept.query("SELECT DISTINCT lsn FROM bronze_poeninja_snapshot ORDER BY lsn LIMIT 1 OFFSET 1"))
    segment, offset = divmod(lsn, 64 << 20)
    (path,) = [p for p in (kept.folder / "souk" / "spool").iterdir() if re.search(rf"0*{segment}\D*$", p.name) and p.is_file()
               and p.stat().st_size > offset]
    with open(path, "r+b") as file:
        file.seek(offset + 300)
        byte = file.read(1)
        file.seek(offset + 300)
        file.write(bytes([byte[0] ^ 1]))
    report = verify(kept)
    assert report["damaged_bytes"] > 0
    lost = kept.count("bronze_poeninja_snapshot", f"lsn = {lsn}")
    assert table(report, "bronze_poeninja_snapshot")["damaged"] == lost > 0
    assert report["equal"]


def test_verify_calls_pending_what_waits_for_clickhouse(tmp_path):
    """And what a log says of another log's rows in the same database: that they are from before."""
    stack = stacks.Stack(tmp_path)
    try:
        stack.start_all()
        stacks.until("rows are stored", 60, lambda: stack.count("bronze_public_stash") > 100)
        assert stack.stop("clickhouse") == 0
        end = stack.status()["spool"]["synced_lsn"]
        stacks.until("more is logged", 60, lambda: stack.status()["spool"]["synced_lsn"] > end + 100_000)
        stack.stop("souk")
        stack.freeze()
        souk(stack, "verify", code=69)
        stack.start_clickhouse(schema=False)
        report = verify(stack)
        pages = table(report, "bronze_public_stash")
        assert pages["pending"] > 0 and pages["equal"] == pages["rows"] > 0
        assert sum(t["batches_pending"] for t in report["tables"]) > 0
        stack.start_souk()
        live = verify(stack)  # Beside a running souk.
        assert live["equal"]
        stack.settle()
        assert stack.stop("souk") == 0
        report = verify(stack)
        assert not any(t["pending"] for t in report["tables"]) and report["equal"]
        stored = stack.count("bronze_public_stash")

        (stack.folder / "souk").rename(stack.folder / "souk.old")
        souk(stack, "verify", code=73)
        stack.freeze(False)
        stack.start_souk()
        stacks.until("the new log's rows are stored", 60, lambda: stack.count("bronze_public_stash") > stored)
        assert stack.stop("souk") == 0
        report = verify(stack)
        pages = table(report, "bronze_public_stash")
        assert pages["before"] == stored and pages["rows"] == pages["equal"] == stack.count("bronze_public_stash") - stored
    finally:
        stack.end()


def test_verify_counts_rows_that_clickhouse_refused(tmp_path):
    stack = stacks.Stack(tmp_path)
    try:
        stack.start_clickhouse()
        stack.query("ALTER TABLE bronze_public_stash ADD CONSTRAINT odd CHECK cityHash64(listing_id) % 200 != 0")
        stack.start_sim()
        stack.start_souk()
        refused = "reason = 'rejected_by_store'"
        stacks.until("rows are refused", 60, lambda: stack.count("bronze_quarantine", refused) > 2)
        stack.settle()
        assert stack.stop("souk") == 0
        report = verify(stack)
        pages = table(report, "bronze_public_stash")
        assert report["equal"] and pages["quarantined"] == stack.count("bronze_quarantine", refused) > 2
        assert pages["rows"] == pages["equal"] + pages["quarantined"]
        assert "refused by ClickHouse" in souk(stack, "verify")
    finally:
        stack.end()


# schema


def test_schema_diff_finds_nothing_in_what_apply_made(stack):
    assert diff(stack, code=0) == []
    assert "as it should be" in souk(stack, "schema", "diff")
    assert "up to date" in souk(stack, "schema", "apply")


def test_schema_diff_names_a_dropped_column_and_apply_adds_it(kept):
    kept.query("ALTER TABLE bronze_requests DROP COLUMN error")
    (found,) = diff(kept)
    assert (found["kind"], found["table"], found["column"], found["additive"]) == ("column", "bronze_requests", "error", True)
    assert "ADD COLUMN" in souk(kept, "schema", "apply", code=2)  # Says what it would do.
    assert len(diff(kept)) == 1
    assert found["statement"] in souk(kept, "schema", "apply", "--yes")
    assert diff(kept, code=0) == []


@pytest.mark.parametrize("mend", ["apply", "statement"])
def test_schema_diff_names_a_window_that_is_gone(kept, mend):
    kept.query("ALTER TABLE bronze_public_stash MODIFY SETTING non_replicated_deduplication_window = 0")
    (found,) = diff(kept)
    assert (found["kind"], found["table"], found["additive"]) == ("deduplication_window", "bronze_public_stash", True)
    named = checks(kept, 78)["clickhouse.deduplication_window"]
    assert named["result"] == "fail" and "bronze_public_stash" in named["what"] and found["statement"] in named["hint"]
    if mend == "apply":
        souk(kept, "schema", "apply", "--yes")
    else:
        kept.query(found["statement"])
    assert diff(kept, code=0) == []
    assert checks(kept, 0)["clickhouse.deduplication_window"]["result"] == "ok"


def test_check_env_only_warns_of_a_window_where_twice_will_do(kept):
    kept.query("ALTER TABLE bronze_public_stash MODIFY SETTING non_replicated_deduplication_window = 0")
    config = kept.folder / "twice.yaml"
    config.write_text(json.dumps(stacks.merge(json.loads(kept.config_file.read_text()),
                                              {"clickhouse": {"delivery": "at_least_once"}})))
    assert checks(kept, 0, config=config)["clickhouse.deduplication_window"]["result"] == "warn"
    assert checks(kept, 78)["clickhouse.deduplication_window"]["result"] == "fail"
    kept.query("ALTER TABLE bronze_public_stash MODIFY SETTING non_replicated_deduplication_window = 10")
    assert checks(kept, 0)["clickhouse.deduplication_window"]["result"] == "warn"


def test_schema_apply_makes_a_table_that_was_dropped(kept):
    kept.query("DROP TABLE bronze_quarantine SYNC")
    kept.query("DROP VIEW v_ops_recent_cursors SYNC")
    assert {(d["kind"], d["table"]) for d in diff(kept)} == {("table", "bronze_quarantine"), ("table", "v_ops_recent_cursors")}
    assert checks(kept, 78)["clickhouse.table"]["result"] == "fail"
    souk(kept, "schema", "apply", "--yes")
    assert diff(kept, code=0) == []


@pytest.mark.parametrize("change, kind", [
    ("ALTER TABLE bronze_requests MODIFY COLUMN attempts UInt64", "type"),
    ("ALTER TABLE bronze_requests MODIFY TTL toDateTime(ts) + INTERVAL 7 DAY", "ttl"),
    ("ALTER TABLE bronze_requests REMOVE TTL", "ttl"),
])
def test_schema_gives_the_statement_for_what_does_not_only_add(kept, change, kind):
    kept.query(change)
    (found,) = diff(kept)
    assert (found["kind"], found["table"], found["additive"]) == (kind, "bronze_requests", False)
    assert found["statement"] in souk(kept, "schema", "apply", "--yes", code=1)
    assert len(diff(kept)) == 1
    kept.query(found["statement"])
    assert diff(kept, code=0) == []


@pytest.mark.parametrize("definition, kind", [
    ("ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ts) ORDER BY (service, endpoint, ts, lsn, ord)", "engine"),
    ("ENGINE = MergeTree PARTITION BY toYYYYMMDD(ts) ORDER BY (service, endpoint, ts, lsn, ord)", "partition_key"),
    ("ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY (ts, lsn, ord)", "order_key"),
])
def test_schema_gives_the_statements_that_rebuild_a_table(kept, definition, kind):
    n = kept.count("bronze_requests")
    kept.query("DROP TABLE bronze_requests SYNC")
    kept.query(f"CREATE TABLE bronze_requests AS kept.bronze_requests {definition} TTL toDateTime(ts) + INTERVAL 90 DAY "
               "SETTINGS non_replicated_deduplication_window = 10000")
    kept.query("INSERT INTO bronze_requests SELECT * FROM kept.bronze_requests")
    (found,) = diff(kept)
    assert (found["kind"], found["table"], found["additive"]) == (kind, "bronze_requests", False)
    souk(kept, "schema", "apply", "--yes", code=1)
    for statement in found["statement"].split(";\n"):
        kept.query(statement)
    kept.query("DROP TABLE bronze_requests_new SYNC")
    assert diff(kept, code=0) == [] and kept.count("bronze_requests") == n
    assert verify(kept)["equal"]


def test_schema_ddl_makes_a_database_without_differences(stack):
    ddl = souk(stack, "schema", "ddl").replace("poe_trade", "poe_other")
    try:
        for statement in re.split(r";\n\n?", ddl):
            statement = re.sub(r"(?m)^--.*\n", "", statement).strip()
            if statement and not statement.startswith("USE "):
                stacks.ask(stack.http, "/?database=" + ("default" if "CREATE DATABASE" in statement else "poe_other"), statement)
        config = stack.folder / "other.yaml"
        config.write_text(json.dumps(stacks.merge(json.loads(stack.config_file.read_text()), {"clickhouse": {"database": "poe_other"}})))
        done = stacks.run_souk("schema", "diff", "--json", config=config)
        assert [d["kind"] for d in json.loads(done.stdout)["differences"]] == ["migration"]
    finally:
        stack.query("DROP DATABASE IF EXISTS poe_other SYNC")


def test_schema_diff_of_a_server_without_the_database(stack):
    config = stack.folder / "empty.yaml"
    config.write_text(json.dumps(stacks.merge(json.loads(stack.config_file.read_text()), {"clickhouse": {"database": "poe_none"}})))
    done = stacks.run_souk("schema", "diff", "--json", config=config)
    assert done.returncode == 1
    kinds = [d["kind"] for d in json.loads(done.stdout)["differences"]]
    assert kinds[:2] == ["database", "migration"] and set(kinds[2:]) == {"table"}
    assert stack.query("SELECT count() FROM system.databases WHERE name = 'poe_none'") == "0"


# check --env


def test_check_env_says_that_all_is_well(stack):
    found = checks(stack, 0)
    assert found.pop("hub.open_to_local")["result"] == "warn"  # As the stacks of the tests are.
    assert {c["result"] for c in found.values()} == {"ok"}, found
    assert {"state_dir", "state_dir.lock", "state_dir.disk", "clickhouse.dns", "clickhouse.connect", "clickhouse.version",
            "clickhouse.clock", "clickhouse.disk", "clickhouse.schema", "clickhouse.deduplication_window",
            "source.psapi.dns", "source.poe_ninja.dns"} <= set(found)
    assert "ok    clickhouse.version" in souk(stack, "check", "--env")


@pytest.mark.parametrize("change, name, code", [
    ({"clickhouse": {"port": 1}}, "clickhouse.connect", 69),
    ({"clickhouse": {"host": "no-such-host.invalid"}}, "clickhouse.dns", 69),
    ({"clickhouse": {"user": "nobody"}}, "clickhouse.connect", 78),
    ({"clickhouse": {"tls": {"enabled": True}}}, "clickhouse.connect", 69),
    ({"clickhouse": {"tls": {"enabled": True, "ca_file": "/nonexistent.pem"}}}, "clickhouse.connect", 78),
    ({"clickhouse": {"hosts": ["127.0.0.1:1", "no-such-host.invalid"]}}, "clickhouse.connect", 69),
    ({"clickhouse": {"database": "poe_none"}}, "clickhouse.database", 78),
    ({"sources": {"psapi": {"base_url": "http://no-such-host.invalid"}}}, "source.psapi.dns", 69),
    ({"state_dir": "/dev/null/souk"}, "state_dir", 73),
])
def test_check_env_says_what_is_wrong(stack, change, name, code):
    config = stack.folder / "wrong.yaml"
    config.write_text(json.dumps(stacks.merge(json.loads(stack.config_file.read_text()), change)))
    found = checks(stack, code, config=config)
    assert found[name]["result"] == "fail" and found[name]["what"] and found[name]["hint"], found
    assert "\n" not in found[name]["what"]


def test_check_env_looks_at_each_of_the_hosts(stack):
    config = json.loads(stack.config_file.read_text())
    here = f"127.0.0.1:{config['clickhouse']['port']}"
    config["clickhouse"]["hosts"] = ["no-such-host.invalid:9000", here]
    config["clickhouse"]["host"] = "nobody-asks-this.invalid"
    listed = stack.folder / "listed.yaml"
    listed.write_text(json.dumps(config))
    found = json.loads(souk(stack, "check", "--env", "--json", config=listed))["checks"]
    first, second = [c for c in found if c["name"] == "clickhouse.connect"]
    assert first["result"] == "warn" and "no-such-host.invalid" in first["what"]
    assert second["result"] == "ok" and here in second["what"]
    assert "clickhouse.schema" in {c["name"] for c in found}


def test_check_env_denies_warnings_when_told(kept):
    kept.query("ALTER TABLE bronze_requests MODIFY TTL toDateTime(ts) + INTERVAL 7 DAY")
    assert checks(kept, 0)["clickhouse.ttl"]["result"] == "warn"
    checks(kept, 3, "--deny-warnings")


def test_every_verb_has_its_help():
    usage = stacks.run_souk("help").stdout
    for verb in re.findall(r"(?m)^  ([a-z]+) {2,}", usage.split("Options:")[0]):
        text = stacks.run_souk("help", verb).stdout
        assert text.startswith("Usage: souk [--config PATH] " + verb), text
        assert text == stacks.run_souk(verb, "--help").stdout
        assert max(map(len, text.splitlines())) <= 110
    assert stacks.run_souk("help", "nothing").returncode == 2


@pytest.mark.parametrize("verb", ["backfill", "check", "ctl", "cursor", "status", "verify", "version", "replay", "run", "schema", "wal"])
def test_every_verb_refuses_what_it_does_not_know(stack, verb):
    actions = {"schema": ["diff"], "wal": ["stat"]}.get(verb, [])
    for wrong in ("--frobnicate", "superfluous"):
        done = stacks.run_souk(verb, *actions, wrong, config=stack.config_file)
        assert done.returncode == 2, (verb, wrong)
        assert "--help" in done.stderr and not done.stdout, (verb, wrong)


@pytest.mark.parametrize("verb", [["check"], ["verify"], ["version"], ["replay"], ["schema", "diff"], ["wal", "stat"], ["wal", "verify"]])
def test_json_is_said_before_or_behind_the_verb(stack, verb):
    before = stacks.run_souk("--json", *verb, config=stack.config_file)
    behind = stacks.run_souk(*verb, "--json", config=stack.config_file)
    assert before.returncode == behind.returncode == 0
    assert json.loads(before.stdout) == json.loads(behind.stdout)


def test_a_folder_without_a_log_is_no_log_without_faults(stack, tmp_path):
    (tmp_path / "spool").mkdir()
    config = tmp_path / "empty.yaml"
    config.write_text(json.dumps(json.loads(stack.config_file.read_text()) | {"state_dir": str(tmp_path)}))
    for verb, code in ((["wal", "stat"], 73), (["wal", "verify"], 73), (["wal", "repair", "--yes"], 73), (["verify"], 73),
                       (["replay"], 74)):
        done = stacks.run_souk(*verb, config=config)
        assert done.returncode == code and "there is no log in" in done.stderr, verb
    assert not list((tmp_path / "spool").iterdir())

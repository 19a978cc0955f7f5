"""Listing events across kills: what is stored equals what the tape says of the whole log in one go (case 1)."""

import json
import os
import random
import re
import subprocess
import time

import pytest
import score
from bench import bench_of
from stacks import BUILD, DATABASE, ask, run_souk, until

REFERENCE = BUILD / "src/pipeline/tape_reference"
MEMORY_MIB, RECENT_MAX = 64, 65536  # The one follows from the other, in src/pipeline/tape_lane.c.
TIMES = ("ts", "listing_ts", "delist_ts", "from_ts", "to_ts")
PRICES = ("price_amount", "price_before", "price_chaos", "price_divine")
COLUMNS = ("ts realm league league_key stash_id listing_id seller item_key fingerprint key_version kind price_currency price_amount "
           "price_before price_chaos price_divine stack_size stack_before listing_ts delist_ts delist_reason removal "
           "sold_probability retracts from_ts to_ts cursor src lsn ord").split()


def expression(column):
    if column in TIMES:
        return f"toUnixTimestamp64Milli({column})"
    if column in PRICES:
        return f"toInt64({column} * 1000000)"
    return f"toInt64({column})" if column in ("item_key", "fingerprint", "lsn") else column


def parse(text):
    """@return {(lsn, ord): the row's cells}, and how often a place is there more than once."""
    rows, n = {}, 0
    for line in text.splitlines():
        cells = line.split("\t")
        assert len(cells) == len(COLUMNS), line
        at = COLUMNS.index("sold_probability")
        cells[at] = round(float(cells[at]), 5)
        rows[int(cells[-2]), int(cells[-1])] = cells
        n += 1
    return rows, n - len(rows)


def stored(bench):
    # Streamed as text; a control character in a name would be escaped on one side alone, and none is there.
    return parse(bench.query(f"SELECT {', '.join(map(expression, COLUMNS))} FROM silver_listing_events FORMAT TSVRaw"))


def reference(bench):
    done = subprocess.run([REFERENCE, bench.folder / "souk/spool", "Standard", str(MEMORY_MIB), str(RECENT_MAX)],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def settled(bench):
    """Nothing comes any more, and the tape has read and said all."""
    bench.settle(60)
    mark = bench.status()["spool"]["synced_lsn"]
    until("the tape has told everything", 60, lambda: has_told(bench, mark),
          lambda: str(bench.status()["tape"]) + "\n" + bench.tail("souk"))


def waiting(bench):
    """Batches of listing events that are not stored."""
    return next(t["outstanding"] for t in bench.status()["store"]["tables"] if t["name"] == "silver_listing_events")


def has_told(bench, mark):
    page = bench.status()
    table = next(t for t in page["store"]["tables"] if t["name"] == "silver_listing_events")
    return page["tape"]["read_lsn"] >= mark and not table["open_rows"] and not table["outstanding"]


def compare(bench, s):
    settled(bench)
    (have, twice), (want, _) = stored(bench), reference(bench)
    s.rows += len(have)
    s.lost += len(want.keys() - have.keys())
    s.twice += twice
    different = [k for k in want if k in have and want[k] != have[k]]
    assert not have.keys() - want.keys(), f"{len(have.keys() - want.keys())} rows that nobody said"
    assert not different, f"{len(different)} rows differ: {[(a, b) for a, b in zip(want[different[0]], have[different[0]]) if a != b]}"
    assert s.lost == 0 and s.twice == 0, f"{s.lost} lost, {s.twice} twice of {len(want)}\n{bench.tail('souk')}"
    bench.freeze(False)
    return have


def verified(bench):
    """What souk verify says of the table; nothing differs anywhere."""
    done = run_souk("verify", "--json", config=bench.config_file, seconds=120)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["equal"], done.stdout + done.stderr
    return next(t for t in found["tables"] if t["table"] == "silver_listing_events")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    tape = {"memory_mib": MEMORY_MIB, "snapshot_minutes": 0.05}
    with bench_of(tmp_path_factory.mktemp("tape"), {"tape": tape}) as running:
        running.wait_for_rows(500, table="silver_listing_events")
        yield running


@pytest.mark.case(1)
def test_listing_events_are_told_once(bench):
    seed = int(os.environ.get("SOUK_CRASH_SEED", random.randrange(1 << 30)))
    pick = random.Random(seed)
    print(f"seed {seed}")
    with score.case(1, "SIGKILL with the tape on, against the tape over the whole log") as s:
        snapshots = 0
        for i in range(score.times(4, 100)):
            if i % 3 == 2:  # One life is long enough for a snapshot.
                since_ms = bench.status()["now_ms"]
                until("a snapshot", 30, lambda: bench.status()["tape"]["snapshot_ms"] > since_ms,
                      lambda: str(bench.status()["tape"]) + "\n" + bench.tail("souk"))
                snapshots += 1
            time.sleep(pick.uniform(0.05, 2.5))
            bench.kill_souk()
            s.kills += 1
            if i % 3 == 1:
                bench.kill_engine()
            s.recovered(bench.restart_souk())
        rows = compare(bench, s)
        kinds = {cells[COLUMNS.index("kind")] for cells in rows.values()}
        assert {"listed", "repriced", "delisted"} <= kinds, kinds
        assert "snapshot is read" in bench.log()
        judged = verified(bench)
        assert judged["rows"] == judged["equal"] == len(rows) and judged["counted_only"], judged
        s.seeds = 1
        s.detail = f"{len(rows)} events of {len(kinds)} kinds, {snapshots} snapshots"


@pytest.mark.case(41)
def test_a_snapshot_waits_for_what_was_told(bench):
    """Events that ClickHouse does not take are told again after a kill: no snapshot lies behind them."""
    with score.case(41, "inserts of listing events stall, then SIGKILL") as s:
        bench.proxy.fault("stall", seconds=30, times=None, table="silver_listing_events")
        until("the tape waits to be stored", 30, lambda: bench.status()["tape"]["state"] == "pausing" and waiting(bench),
              lambda: str(bench.status()["tape"]) + "\n" + bench.tail("souk"))
        before = bench.status()["tape"]["snapshot_ms"]
        time.sleep(2.5)  # Time enough to write one too early.
        assert bench.status()["tape"]["snapshot_ms"] == before
        bench.kill_souk()
        s.kills += 1
        bench.proxy.clear()
        s.recovered(bench.restart_souk())
        compare(bench, s)


@pytest.mark.case(11)
def test_a_clean_stop_leaves_a_snapshot_of_all(bench):
    """The next start has nothing to read again."""
    with score.case(11, "SIGTERM with the tape on") as s:
        assert bench.stop("souk", 15) == 0, bench.tail("souk")
        mark = len(bench.log())
        s.recovered(bench.restart_souk())
        until("the snapshot is read", 10, lambda: "snapshot is read" in bench.log()[mark:])
        bench.wait_for_rows(50, table="silver_listing_events")
        compare(bench, s)


def flip_a_byte(file):
    with open(file, "r+b") as f:
        f.seek(file.stat().st_size // 2)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 1]))


@pytest.mark.case(1)
@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_lost_snapshot_stores_nothing_twice(bench, how):
    """Events between the snapshot and the crash that were not stored may lack, and no more."""
    with score.case(1, f"the tape's snapshot is {how} after a SIGKILL") as s:
        until("a snapshot", 30, lambda: bench.status()["tape"]["snapshot_ms"] > 0)
        bench.wait_for_rows(50, table="silver_listing_events")
        bench.kill_souk()
        s.kills += 1
        (file,) = (bench.folder / "souk").glob("tape.*.snapshot")
        if how == "gone":
            file.unlink()
        else:
            flip_a_byte(file)
        mark = len(bench.log())
        s.recovered(bench.restart_souk())
        # The latter when no checkpoint knew of it yet: the log is then kept from where the tape was empty.
        until("it says so", 10, lambda: re.search("the snapshot is lost|starts without a snapshot", bench.log()[mark:]))
        bench.wait_for_rows(50, table="silver_listing_events")
        settled(bench)
        rows, twice = stored(bench)
        s.rows, s.twice = len(rows), twice
        assert twice == 0
        bench.kill_souk()  # A second life from the same mark says the same.
        s.recovered(bench.restart_souk())
        settled(bench)
        again, twice = stored(bench)
        changed = [k for k in again.keys() | rows.keys() if again.get(k) != rows.get(k)]
        assert twice == 0 and not changed, f"{len(changed)} of {len(rows)}: {sorted(changed)[:3]}\n{bench.tail('souk', 40)}"
        assert bench.metric("souk_tape_events_total") == bench.status()["tape"]["events"]
        until("the gauge says so too", 10, lambda: bench.metric("souk_tape_items") == bench.status()["tape"]["items"] > 0)
        verified(bench)
        bench.freeze(False)
        until("a snapshot again", 30, lambda: bench.status()["tape"]["snapshot_ms"] > 0,
              lambda: str(bench.status()["tape"]) + "\n" + bench.tail("souk"))


def test_verify_counts_what_lacks_and_what_is_twice(bench):
    settled(bench)
    table = "silver_listing_events"
    lsn, ord_ = bench.query(f"SELECT lsn, ord FROM {table} ORDER BY lsn, ord LIMIT 1 OFFSET 5").split("\t")
    other, n = bench.query(f"SELECT lsn, count() FROM {table} WHERE lsn != {lsn} GROUP BY lsn ORDER BY lsn LIMIT 1").split("\t")
    ask(bench.http, f"/?database={DATABASE}", f"ALTER TABLE {table} DELETE WHERE lsn = {lsn} AND ord = {ord_} SETTINGS mutations_sync = 2")
    ask(bench.http, f"/?database={DATABASE}", f"INSERT INTO {table} SELECT * FROM {table} WHERE lsn = {other}")
    done = run_souk("verify", "--json", config=bench.config_file, seconds=120)
    found = next(t for t in json.loads(done.stdout)["tables"] if t["table"] == table)
    assert done.returncode == 1
    assert (found["missing"], found["twice"], found["uncovered"]) == (1, int(n), 0), found

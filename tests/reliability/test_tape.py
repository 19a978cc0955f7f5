"""Listing events across kills: what is stored equals what the tape says of the whole log in one go (case 1)."""

import json
import os
import random
import subprocess
import time

import pytest
import score
from bench import bench_of
from stacks import BUILD, ask, run_souk, until

REFERENCE = BUILD / "src/tape/tape_reference"
MEMORY_MIB, RECENT_MAX = 64, 65536  # The one follows from the other, in src/cli/tape_lane.c.
TIMES = ("ts", "listing_ts", "delist_ts", "from_ts", "to_ts")
PRICES = ("price_amount", "price_before", "price_chaos", "price_divine")
COLUMNS = ("ts realm league league_key stash_id listing_id seller item_key fingerprint kind price_currency price_amount "
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
        for i in range(score.times(6, 100)):
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


@pytest.mark.case(1)
def test_a_lost_snapshot_stores_nothing_twice(bench):
    """Events between the snapshot and the crash that were not stored may lack, and no more."""
    with score.case(1, "the tape's snapshot is gone after a SIGKILL") as s:
        bench.wait_for_rows(50, table="silver_listing_events")
        bench.kill_souk()
        s.kills += 1
        for file in (bench.folder / "souk").glob("tape.*.snapshot"):
            file.unlink()
        mark = len(bench.log())
        s.recovered(bench.restart_souk())
        until("it says so", 10, lambda: "the snapshot is lost" in bench.log()[mark:])
        bench.wait_for_rows(50, table="silver_listing_events")
        settled(bench)
        rows, twice = stored(bench)
        s.rows, s.twice = len(rows), twice
        assert twice == 0
        bench.freeze(False)
        bench.kill_souk()  # A second life from the same mark says the same.
        s.recovered(bench.restart_souk())
        settled(bench)
        again, twice = stored(bench)
        assert twice == 0 and all(again[k] == rows[k] for k in rows)
        assert ask(bench.hub, "/-/ready")

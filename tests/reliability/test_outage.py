"""ClickHouse away at 2,000 rows/s: case 39. The log grows as a line, memory does not, and it drains fast."""

import statistics
import time

import pytest
import score
from bench import bench_of
from stacks import ask, until

RATE = 2000


def rss(bench):
    pid = bench.processes["souk"].pid
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def straightness(points):
    """Pearson's r of (x, y): 1 is a line."""
    x, y = zip(*points, strict=True)
    return statistics.correlation(x, y)


def newest_age_s(bench):
    return float(bench.query("SELECT toUnixTimestamp64Milli(now64(3)) / 1000 - max(toUnixTimestamp64Milli(ingested_at)) / 1000 "
                             "FROM bronze_public_stash"))


@pytest.mark.case(39)
@pytest.mark.parametrize("seconds", score.times([30], [600, 3600]))
def test_clickhouse_away(tmp_path, seconds):
    with bench_of(tmp_path / "outage") as bench, \
            score.case(39, f"ClickHouse away for {seconds} s at {RATE:,} rows/s") as s:
        bench.wait_for_rows(3 * RATE)
        begun, rows_before = time.monotonic(), bench.simulator()["rows_emitted"]
        bench.proxy.refuse()
        points, memory = [], []
        while (at := time.monotonic() - begun) < seconds:
            points.append((at, bench.status()["spool"]["unacked_bytes"]))
            memory.append((at, rss(bench)))
            time.sleep(max(0.5, seconds / 400))
        emitted = bench.simulator()["rows_emitted"] - rows_before
        rate = emitted / (time.monotonic() - begun)
        assert rate > 0.9 * RATE, f"only {rate:.0f} rows/s were offered: this shows nothing"
        # Its memory may fill up to the bound of the store first; from there on it is flat.
        settled = [m for at, m in memory if at > min(15, seconds / 2)]
        grown_mib = (statistics.mean(settled[-3:]) - statistics.mean(settled[:3])) / (1 << 20)
        r = straightness([p for p in points if p[0] > 3])
        assert r > 0.99, f"the log did not grow as a line: r = {r:.4f}\n{points}"
        assert grown_mib < 16, f"memory grew by {grown_mib:.1f} MiB\n{memory}"
        assert max(m for _, m in memory) < 256 << 20
        assert not bench.status()["spool"]["full"]
        mark, stored = bench.status()["spool"]["synced_lsn"], bench.rows()
        bench.proxy.accept()
        back, lags = time.monotonic(), []
        until("ClickHouse is connected", 20, lambda: bench.status()["store"]["state"] == "connected")
        s.recovered(time.monotonic() - back)
        begun_drain = time.monotonic()

        def drained():
            if time.monotonic() - begun_drain > 2:  # The first new rows are on their way until then.
                lags.append(newest_age_s(bench))
            return bench.has_drained(mark)
        until("what was held is stored", max(120, seconds), drained, lambda: bench.tail("souk"))
        took = time.monotonic() - begun_drain
        factor = (bench.rows() - stored) / took / rate
        lag = max(lags, default=0.0)
        s.detail = (f"{rate:.0f} rows/s offered, {points[-1][1] / (1 << 20):.1f} MiB held, r {r:.5f}, memory {grown_mib:+.1f} MiB "
                    f"to {max(m for _, m in memory) >> 20} MiB, drained in {took:.1f} s "
                    f"({factor:.1f} x), newest row at most {lag:.1f} s old")
        print(s.detail)
        bench.audited(s)
        assert s.recovery_s <= 10
        assert factor >= 5, f"drains at {factor:.1f} times the rate"
        assert lag < 60
        assert ask(bench.hub, "/-/ready")

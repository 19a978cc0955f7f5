"""Trade data by resource and by cursor, the realms of psapi, and how far psapi is behind."""

import json
import signal

import pytest
from stacks import ask, run_souk, stack_of, until

HOLD_MS = 5 * 3600 * 1000  # It is 6 h, less what the test takes.
RESOURCES = ["static", "items", "stats", "leagues", "filters", "change-ids"]
IDS = "SELECT countDistinct(trade_id) FROM bronze_trade_metadata WHERE ts > now() - INTERVAL 1 HOUR"
AGE = ("SELECT quantileExact(0.95)(dateDiff('second', listing_ts, now())) FROM bronze_trade_metadata "
       "WHERE listing_ts > now() - INTERVAL 1 HOUR")


def config(stack, **trade):
    url = f"http://127.0.0.1:{stack.sim}"
    stack.configure({"sources": {"trade_data": {"enabled": True, "base_url": url, "rate_per_s": 1, "change_ids_s": 1} | trade}})


def stream(stack, name, key):
    return next(s for s in stack.status()["sources"] if (s["name"], s["stream"]) == (name, key))


def told(stack):
    return lambda: json.dumps(stack.status()["sources"]) + "\n" + stack.tail("souk")


def test_resources_and_heads(tmp_path):
    with stack_of(tmp_path, {"sources": {"psapi": {"realms": ["pc", "xbox"], "start": "head"}}}, start=False) as stack:
        config(stack, resources=RESOURCES)
        stack.start_all("--trade-etag")
        until("a body of each resource", 60, lambda: all(stream(stack, "trade_data", r)["pages"]["new"] for r in RESOURCES), told(stack))
        # change-ids names no head for xbox, so it begins at the oldest page; pc begins at the head.
        until("both realms", 30, lambda: all(stream(stack, "psapi", r)["pages"]["new"] for r in ("pc", "xbox")), told(stack))
        asked = stack.query("SELECT realm, argMin(last_cursor_id, retrieved_at) FROM bronze_ingest_checkpoints "
                            "WHERE service = 'psapi' GROUP BY realm ORDER BY realm FORMAT TSV")
        first = dict(line.split("\t") for line in asked.splitlines())
        assert first.get("xbox", "") == "" and first["pc"] != "", asked
        assert "lag_changes" not in stream(stack, "trade_data", "static")
        stack.freeze()  # How far the head is ahead of what the river serves is not known before an end was met.
        until("the end", 30, lambda: (s := stream(stack, "psapi", "pc"))["state"] == "caught_up" and s["lag_changes"] == 0
              and s["lag_estimate_s"] == 0, told(stack))
        assert stack.metric("souk_cursor_lag_changes") >= -1
        stack.freeze(False)
        assert stream(stack, "psapi", "pc")["lag_changes"] >= 0
        assert 'souk_cursor_lag_seconds{source="psapi"}' in ask(stack.hub, "/metrics")
        until("rows of each list", 20, lambda: set(stack.query("SELECT DISTINCT item_type FROM bronze_trade_metadata "
              "WHERE origin = 'resource'").splitlines()) == set(RESOURCES) - {"change-ids"}, told(stack))
        assert int(stack.query(IDS)) > 20
        assert stack.query("SELECT max(http_status), max(rate_limit_raw != '') FROM bronze_trade_metadata FORMAT CSV") == "200,1"
        assert stack.count("v_trade_metadata_dedup") == int(
            stack.query("SELECT uniqExact(item_type, trade_id, variation_id) FROM bronze_trade_metadata"))
        assert stack.count("bronze_quarantine", "source = 'trade_data'") == 0
        assert stack.simulator()["violations"] == 0


def test_a_gateway_is_walked_and_its_end_is_told_once(tmp_path):
    with stack_of(tmp_path, start=False) as stack:
        config(stack, path="/gateway/trade/data/{cursor}")
        stack.start_all()
        until("listings", 30, lambda: stack.count("bronze_trade_metadata", "origin = 'remote'") > 10, told(stack))
        assert int(stack.query(IDS)) > 10
        assert float(stack.query(AGE)) >= 0
        assert int(stack.query("SELECT max(c) FROM (SELECT count() AS c FROM v_trade_metadata_dedup GROUP BY trade_id)")) == 1
        stack.fault("status", target="trade_data", value=404, count=1)
        gone = until("derived mode", 30, lambda: (s := stream(stack, "trade_data", "listings"))["state"] == "unavailable"
                     and s["next_request_ms"] > stack.status()["now_ms"] + HOLD_MS and s, told(stack))
        before = gone["cursor"]
        assert before != "" and gone["pages"]["unavailable"] == 1
        alert = until("an alert", 10, lambda: stack.alerts("unavailable"), told(stack))
        assert len(alert) == 1 and alert[0]["title"] == "trade_data listings is not available: derived from the tape"
        assert stream(stack, "trade_data", "listings")["level"] == "amber"

        # It is asked again at a start, and all is well.
        assert stack.stop("souk") == 0
        stack.start_souk()
        until("it goes on", 60, lambda: (s := stream(stack, "trade_data", "listings"))["pages"]["new"] > 0 and s["cursor"] != before, told(stack))
        until("the alert ends", 20, lambda: all(a["status"] == "resolved" for a in stack.alerts("unavailable")), told(stack))
        assert len(stack.alerts("unavailable")) == 1

        # So it is when somebody asks for it.
        stack.fault("status", target="trade_data", value=404, count=1)
        until("derived mode", 30, lambda: stream(stack, "trade_data", "listings")["next_request_ms"] > stack.status()["now_ms"] + HOLD_MS, told(stack))
        asked = run_souk("poll", "trade_data", "listings", config=stack.config_file)
        assert asked.returncode == 0, asked.stdout + asked.stderr
        until("it goes on", 30, lambda: stream(stack, "trade_data", "listings")["state"] in ("live", "caught_up"), told(stack))


@pytest.mark.parametrize("fault", [{"kind": "status", "value": 410}, {"kind": "status", "value": 444}, {"kind": "status", "value": 403}])
def test_what_else_is_gone(tmp_path, fault):
    with stack_of(tmp_path, start=False) as stack:
        config(stack, path="/gateway/trade/data/{cursor}")
        stack.start_clickhouse()
        stack.start_sim()
        stack.fault(target="trade_data", count=1000, **fault)
        stack.start_souk()
        until("derived mode", 30, lambda: stream(stack, "trade_data", "listings")["state"] == "unavailable", told(stack))
        until("an alert", 10, lambda: len(stack.alerts("unavailable")) == 1, told(stack))


def test_listings_are_derived_from_the_tape(tmp_path):
    """With nobody who tells of listings, the tape does: one row an event, once."""
    with stack_of(tmp_path) as stack:
        until("derived rows", 60, lambda: stack.count("bronze_trade_metadata", "origin = 'derived'") > 200, told(stack))
        stack.stop("souk", sig=signal.SIGKILL)  # What it says again is known by its tokens, in both tables.
        stack.start_souk()
        stack.goes_on()
        stack.settle()
        same = "SELECT count(), uniqExact(src, lsn, ord), sum(cityHash64(lsn, ord, listing_ts, delist_ts)) FROM "
        until("as many as events", 30, lambda: stack.query(same + "silver_listing_events")
              == stack.query(same + "bronze_trade_metadata WHERE origin = 'derived'"), told(stack))
        assert int(stack.query(IDS)) > 100
        assert float(stack.query(AGE)) >= 0
        kinds = dict(line.split("\t") for line in stack.query(
            "SELECT trade_category, max(price_change_flag) FROM bronze_trade_metadata WHERE origin = 'derived' GROUP BY 1 FORMAT TSV").splitlines())
        assert kinds["listed"] == "0" and set(kinds) <= {"listed", "repriced", "restacked", "delisted", "moved", "relisted"}
        assert kinds.get("repriced", "1") == "1"
        assert stack.count("bronze_trade_metadata", "length(trade_data_hash) != 32 OR NOT isValidJSON(payload)") == 0
        assert stack.stop("souk") == 0
        found = run_souk("verify", "--since", "1h", config=stack.config_file, seconds=60)
        line = next(row for row in found.stdout.splitlines() if row.startswith("bronze_trade_metadata "))
        assert set(line.split()[1:]) == {"0", "|"}, found.stdout  # Rows that the server made are nobody's fault.

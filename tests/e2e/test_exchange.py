"""The currency exchange's hours with a gap in them, the leagues, and the pages of other sites."""

import json
import time

from stacks import stack_of, until

NEW = ("currency_exchange", "leagues", "enrichment")


def told(stack):
    return lambda: json.dumps([s for s in stack.status()["sources"] if s["name"] in NEW]) + "\n" + stack.tail("souk")


def test_hours_gaps_leagues_and_pages_of_others(tmp_path):
    with stack_of(tmp_path, {"leagues": ["Standard"]}, start=False) as stack:
        url = f"http://127.0.0.1:{stack.sim}"
        first = int(time.time()) // 3600 * 3600 - 4 * 3600
        stack.configure({"sources": {
            "currency_exchange": {"enabled": True, "base_url": url + "/api", "realms": ["pc", "xbox"], "late_s": 1,
                                  "rate_per_s": 1, "start": str(first - 2 * 3600)},
            "leagues": {"enabled": True, "base_url": url + "/api", "rate_per_s": 1},
            "enrichment": {"enabled": True, "base_url": url + "/poedb/us", "wiki_url": url + "/wiki/w", "rate_per_s": 0.5,
                           "period_s": 3}}})
        stack.start_all("--cx-history", "4", "--cx-late", "0")
        hours = "SELECT uniqExact(hour_ts) FROM bronze_exchange_events WHERE realm = '{}'"
        until("four hours of both realms", 60, lambda: all(int(stack.query(hours.format(r))) >= 4 for r in ("pc", "xbox")), told(stack))
        # What lies before the simulator's history is not there, and is told as such.
        gaps = stack.query("SELECT realm, count(), max(hour_ts) < (SELECT min(hour_ts) FROM bronze_exchange_events), any(reason) "
                           "FROM v_exchange_gaps GROUP BY realm ORDER BY realm FORMAT CSV").splitlines()
        assert [line.split(",")[0] for line in gaps] == ['"pc"', '"xbox"'], gaps
        assert all(line.endswith(',1,"later_hour"') and int(line.split(",")[1]) in (2, 3) for line in gaps), gaps
        assert stack.metric("souk_source_gaps_total") == stack.count("bronze_exchange_gaps")
        assert stack.count("bronze_exchange_events", "league LIKE '%(PL%' AND league_key = 'other'") > 0
        assert stack.count("bronze_exchange_events", "volume_base > 0 AND (volume_quote / volume_base < lowest_ratio * 0.999 "
                                                     "OR volume_quote / volume_base > highest_ratio * 1.001)") == 0
        assert stack.count("bronze_exchange_events", "volume_base = 0 AND highest_ratio = 0") > 0
        assert stack.count("v_exchange_events") == int(
            stack.query("SELECT uniqExact(realm, hour_ts, league, market_id) FROM bronze_exchange_events"))
        until("leagues", 20, lambda: stack.count("bronze_leagues", "league = 'Standard' AND start_at > '2013-01-01'"), told(stack))
        until("both sites", 20, lambda: int(stack.query("SELECT uniqExact(source) FROM bronze_enrichment")) == 2, told(stack))
        assert stack.count("bronze_enrichment", "key = 'Divine Orb' AND gold_per_unit = 250 AND stale = 0") > 0
        assert stack.count("bronze_enrichment", "mod_id != '' AND mod_description != '' AND craft_group != '' "
                                                "AND licence = 'CC BY-NC-SA 3.0' AND stale = 0") > 0
        assert stack.count("bronze_quarantine", "source IN ('currency_exchange', 'leagues', 'enrichment')") == 0
        stack.fault("status", "enrichment", value=429, count=2)
        until("stale rows", 30, lambda: stack.count("bronze_enrichment", "stale = 1") > 0, told(stack))
        stack.is_clean()

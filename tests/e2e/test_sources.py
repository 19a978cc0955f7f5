"""Every source at once against the simulator, which asks for tokens: killed in the middle, nothing is lost, nothing is
there twice, and no limit is broken."""

import json
import re
import signal
import time

import pytest
from stacks import run_souk, stack_of, until

HISTORY_H = 6
NAMES = {"account_stashes", "currency_exchange", "enrichment", "leagues", "oauth", "poe_ninja", "psapi", "trade_data"}


def config(sim):
    url = f"http://127.0.0.1:{sim}"
    return {
        "sources": {
            "oauth": {"base_url": url},
            "account_stashes": {"enabled": True, "base_url": url, "leagues": ["Standard"]},
            "currency_exchange": {"enabled": True, "base_url": f"{url}/api", "start": "oldest",
                                  "late_s": 1},
            "enrichment": {"enabled": True, "base_url": f"{url}/poedb/us", "wiki_url": f"{url}/wiki/w",
                           "pages": ["poedb/Currency_Exchange", "wiki/mods"]},
            "leagues": {"enabled": True, "base_url": f"{url}/api", "realms": ["pc", "sony"]},
            "trade_data": {"enabled": True, "base_url": url},
        }
    }


def test_all_sources_through_a_kill(tmp_path):
    with stack_of(tmp_path, start=False) as stack:
        stack.configure(config(stack.sim))
        stack.souk_env = {"POE_CLIENT_ID": "souk", "POE_CLIENT_SECRET": "sim-secret"}
        stack.start_clickhouse()
        stack.start_sim("--require-token", "--trade-etag", "--cx-history", str(HISTORY_H), "--cx-late", "0")
        stack.start_souk(wait=False)

        def tell():
            return json.dumps(stack.simulator()["requests"]) + "\n" + stack.tail("souk")

        def asked(route):
            return stack.simulator()["requests"][route]

        until("souk answers", 20, lambda: stack.status()["sources"], tell)
        if missing := NAMES - {s["name"] for s in stack.status()["sources"]}:
            pytest.skip(f"this souk has no {', '.join(sorted(missing))}")
        until("tabs are asked", 60, lambda: asked("stash") >= 4, tell)
        stack.stop("souk", sig=signal.SIGKILL)
        first = stack.simulator()["requests"]
        stack.start_souk(wait=False)
        until("tabs again", 60, lambda: asked("stash") >= first["stash"] + 5, tell)  # Within 15 of 30 in 300 s.
        until("all hours", 60, lambda: stack.count("bronze_exchange_events") and int(stack.query(
            "SELECT uniqExact(hour_ts) FROM bronze_exchange_events")) >= HISTORY_H, tell)
        until("the rest", 60, lambda: all(asked(r) for r in ("leagues", "trade/data", "enrichment", "poe1/api/economy")), tell)
        stack.settle()
        deadline = time.monotonic() + 20
        while (found := stack.audit("--replaced", "--json")).returncode != 0 and time.monotonic() < deadline:
            time.sleep(1)  # A body may be under way; what is lost stays lost.
        assert found.returncode == 0, found.stdout + found.stderr + stack.tail("souk")
        tables = json.loads(found.stdout)["tables"]
        assert {t for t, n in tables.items() if n["emitted"] == 0} == set(), tables
        # Nothing but what was spoiled on purpose was refused, and no answer was asked for too often.
        refused = stack.query("SELECT DISTINCT source FROM bronze_quarantine").splitlines()
        assert set(refused) <= {"psapi"}, refused
        assert stack.simulator()["violations"] == 0, (tmp_path / "sim/violations.jsonl").read_text()
        assert re.search(r"sim-[0-9a-f]{16}\.", stack.log()) is None  # A token in a log is a token lost.
        # A replay of all of it finds nothing otherwise, and says which pages it cannot ask about.
        done = run_souk("--json", "replay", config=stack.config_file, seconds=120)
        assert done.returncode == 0, done.stderr
        again = json.loads(done.stdout)
        assert again["judged_otherwise"] == 0, [line for line in done.stderr.splitlines() if "otherwise" in line]
        assert 0 < again["not_judged"] < again["pages"]

"""What an upstream refuses of one league, tab or page is that one's: all else goes on."""

import json

from stacks import ask, stack_of, until

DEAD = ["Gone", "Over", "Nowhere"]
KINDS = ["exchange/Currency", "exchange/Fragment", "exchange/Scarab", "item/UniqueWeapon"]


def test_dead_leagues_stop_only_themselves(tmp_path):
    with stack_of(tmp_path, {"sources": {"poe_ninja": {"leagues": ["Standard", *DEAD], "kinds": KINDS}}}) as stack:
        def ninja(dead):
            return [s for s in stack.status()["sources"] if s["name"] == "poe_ninja" and (s["league"] in DEAD) == dead]

        def tell():
            return json.dumps(ninja(True) + ninja(False), indent=1) + stack.tail("souk")

        until("each of the dead was refused", 60, lambda: all(s["errors"] for s in ninja(True)), tell)
        before = {s["stream"]: s["pages"]["new"] + s["pages"]["unchanged"] for s in ninja(False)}
        assert len(before) == len(KINDS)
        # Twelve refusals are more than the ten that an endpoint may cause.
        until("the living go on", 120, lambda: all(
            s["pages"]["new"] + s["pages"]["unchanged"] > before[s["stream"]] for s in ninja(False)), tell)
        endpoint = next(e for e in stack.status()["endpoints"] if e["name"] == "poe_ninja")
        assert endpoint["state"] != "disabled", endpoint
        for s in ninja(False):
            assert (s["level"], s["last_error"]) == ("green", ""), s
        for s in ninja(True):  # They say what is the matter, and when they ask again.
            assert s["state"] == "waiting" and "404" in s["last_error"] and s["next_request_ms"] > 0, s
        metrics = ask(stack.hub, "/metrics").splitlines()
        refused = next(float(m.split()[1]) for m in metrics if m.startswith("souk_subject_refusals_total{") and not m.endswith(" 0"))
        assert refused >= 12
        assert stack.simulator()["violations"] == 0

"""More stopped backfills than there used to be places: none loses its cursor, nor does a stream that is switched off, and
a further one is refused by name. ClickHouse is not needed to see where cursors stand."""

import json
import re
import urllib.parse

import pytest
from stacks import ask, run_souk, stack_of, until

PLACES = 1024


def places(stack):
    answer = json.loads(ask(stack.hub, "/api/v1/cursor"))["streams"]
    return {(s["source"], s["stream"]): s["cursor"] for s in answer if s["state"] == "absent"}


def post(stack, path, **wish):
    return json.loads(ask(stack.hub, f"/api/v1/{path}?{urllib.parse.urlencode(wish)}", method="POST"))


def test_a_full_table_refuses_and_drops_nothing(tmp_path):
    more = {"clickhouse": {"password_file": ""}, "sources": {"poe_ninja": {"enabled": False}, "psapi": {"period_s": 0.5}}}
    with stack_of(tmp_path, more, start=False) as stack:
        stack.start_sim()
        stack.start_souk(wait=False)
        start = until("a first cursor", 60, lambda: stack.psapi()["cursor"], lambda: stack.tail("souk"))
        shards = start.split("-")

        def begin(i):
            to = "-".join([str(int(shards[0]) + i), *shards[1:]])
            # One request in a day: it stands where it began until it is stopped.
            return post(stack, "backfill", source="psapi", **{"from": start, "to": to}, budget=1e-5)["key"]

        kept = []
        for i in range(1, PLACES + 1):
            kept.append(until("it is begun", 60, lambda: begin(1_000_000 + i), lambda: stack.tail("souk")))
            until("it is stopped", 60, lambda: post(stack, "backfill/stop", source="psapi", key=kept[-1]))
        until("all have places", 60, lambda: len(places(stack)) == PLACES, lambda: str(len(places(stack))))
        assert stack.metric("souk_streams_absent") == PLACES
        with pytest.raises(OSError, match=r"503.*1024 streams that do not run keep their places, of 1024.*psapi"):
            begin(1_000_000 + PLACES + 1)
        again = begin(1_000_001)  # One that has a place goes on.
        assert again == kept[0] and len(places(stack)) == PLACES - 1
        with pytest.raises(OSError, match="1024 streams"):  # Its place is kept for it.
            begin(1_000_000 + PLACES + 1)

        # The river is switched off while the table is full: its own cursor is one more.
        here = places(stack)
        assert stack.stop("souk") == 0
        cursor = {(s["source"], s["stream"]): s["cursor"] for s in
                  json.loads(run_souk("--json", "cursor", "get", config=stack.config_file).stdout)["streams"]}
        assert len(cursor) == PLACES + 1 and here.items() <= cursor.items()
        stack.configure({"sources": {"psapi": {"enabled": False}, "trade_data": {"enabled": True}}})
        stack.start_souk(wait=False)
        until("it runs", 60, lambda: len(places(stack)) == PLACES + 1, lambda: stack.tail("souk"))
        assert places(stack) == cursor
        assert re.search(r"so many streams do not run", stack.log())
        assert stack.stop("souk") == 0
        assert stack.simulator()["violations"] == 0

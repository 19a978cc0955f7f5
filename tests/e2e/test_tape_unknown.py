"""Pages that cannot be read whole, from an upstream of the test's own: nothing is gone that is only not known."""

import http.server
import json
import threading
import urllib.parse

from stacks import free_ports, run_souk, stack_of, until

STASH, A, B = "5a" * 32, "a1" * 32, "b2" * 32
LIMITS = {"X-Rate-Limit-Policy": "a-test", "X-Rate-Limit-Rules": "Ip", "X-Rate-Limit-Ip": "20:5:10", "X-Rate-Limit-Ip-State": "1:5:0"}


def item(n):
    return {"id": n, "typeLine": "Iron Ring", "frameType": 0, "note": "~price 1 chaos"}


def page(then, *items):
    stash = {"id": STASH, "public": True, "accountName": "ann", "stash": "shop", "stashType": "PremiumStash", "league": "Standard"}
    return {"next_change_id": then, "stashes": [stash | {"items": list(items)}]}


PAGES = {
    "": page("2-2", item(A), item(B)),
    "2-2": page("3-3", item(A) | {"ilvl": 70000}, item(B)),  # Refused, its id can be read.
    "3-3": page("4-4", item(B), {"id": 7, "typeLine": "Iron Ring"}),  # Refused, and it may be A.
    "4-4": page("5-5", item(A), item(B)),
    "8-8": page("9-9", item(A)),
}


def others(n):
    """A page of stashes in private leagues of their own, one whose league is too long, and one that is none."""
    def stash(i, league):
        return {"id": f"{i:064x}", "public": True, "accountName": "bob", "stash": "s", "stashType": "PremiumStash",
                "league": league, "items": [item(f"{i:064x}")]}
    return {"next_change_id": "2-2", "stashes": [stash(i, f"Ours (PL{i})") for i in range(n)]
            + [stash(n, "x" * 129), stash(n + 1, "Standard") | {"id": "none"}]}


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pages = PAGES

    def do_GET(self):
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("id", [""])[0]
        answer = self.pages.get(asked, {"next_change_id": asked, "stashes": []})
        body = json.dumps(answer).encode()
        self.send_response(200)
        for name, value in LIMITS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_what_is_not_known_is_not_gone(tmp_path):
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{upstream.server_port}"
    psapi = {"base_url": url, "seed_url": url, "start": "oldest", "period_s": 1}
    try:
        with stack_of(tmp_path, {"sources": {"psapi": psapi, "poe_ninja": {"enabled": False}}}, start=False) as stack:
            stack.start_clickhouse()
            stack.start_souk()

            def events(kind):
                return stack.count("silver_listing_events", f"kind = '{kind}'")

            def told():
                return json.dumps(stack.status()["tape"]) + "\n" + json.dumps(stack.psapi()) + "\n" + stack.tail("souk")

            until("the end of the stream", 120, lambda: stack.psapi()["cursor"] == "5-5" and stack.psapi()["state"] == "caught_up", told)
            until("what was not said", 60, lambda: stack.metric("souk_tape_held_items_total") == 2
                  and stack.metric("souk_tape_partial_versions_total") == 1, told)
            assert stack.metric("souk_tape_lost_pages_total") == 0
            # Pages are skipped: what went meanwhile is gone, and was not seen to be sold.
            done = run_souk("cursor", "set", "psapi", "pc", "8-8", "--reason", "a test", config=stack.config_file)
            assert done.returncode == 0, done.stdout + done.stderr
            until("a page lost", 60, lambda: stack.metric("souk_tape_lost_pages_total") >= 1, told)
            until("the last event", 120, lambda: events("delisted") == 1, told)
            assert events("listed") == 2 and events("relisted") == events("moved") == events("repriced") == 0
            assert stack.query("SELECT listing_id, removal, sold_probability, key_version FROM silver_listing_events "
                               "WHERE kind = 'delisted' FORMAT TSV") == f"{B}\tcatching_up\t0\t3"
    finally:
        upstream.shutdown()
        upstream.server_close()


def crowd(n):
    """A page of @n more stashes of the seller of others, and one that takes the first of them away."""
    stashes = [{"id": f"{i:064x}", "public": True, "accountName": "bob", "stash": "s", "stashType": "PremiumStash",
                "league": "Ours (PL16999)", "items": [item(f"{i:064x}")]} for i in range(20000, 20000 + n)]
    return {"next_change_id": "3-3", "stashes": stashes}, {"next_change_id": "4-4", "stashes": [{"id": stashes[0]["id"], "public": False}]}


class Leagues(Upstream):
    pages = {"": others(17000)}
    pages["2-2"], pages["3-3"] = crowd(1000)


def test_leagues_without_end_find_their_places_and_are_told(tmp_path):
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Leagues)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{upstream.server_port}"
    psapi = {"base_url": url, "seed_url": url, "start": "oldest", "period_s": 1}
    try:
        with stack_of(tmp_path, {"sources": {"psapi": psapi, "poe_ninja": {"enabled": False}}}, start=False) as stack:
            stack.start_clickhouse()
            stack.start_souk()
            until("all are listed", 120, lambda: stack.count("silver_listing_events", "kind = 'listed'") == 18001,
                  lambda: json.dumps(stack.status()["tape"]) + "\n" + stack.tail("souk"))
            until("leagues are counted", 60, lambda: stack.metric("souk_tape_leagues") == 17000 - 1024,
                  lambda: stack.tail("souk"))
            assert stack.metric("souk_tape_forgotten_leagues_total") == 1024
            assert stack.metric("souk_tape_unnamed_total") == 1
            until("a seller with more than is compared", 60, lambda: stack.metric("souk_tape_crowded_total") == 1,
                  lambda: json.dumps(stack.status()["tape"]))
            assert stack.metric("souk_tape_refused_stashes_total") == 1
            assert stack.metric("souk_metric_series") > 100 and stack.metric("souk_metric_series_refused_total") == 0
    finally:
        upstream.shutdown()
        upstream.server_close()

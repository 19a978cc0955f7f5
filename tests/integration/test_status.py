"""souk status on pages that a test makes: every state of a source and of a limit, said on a line of text."""

import http.server
import itertools
import json
import pathlib
import re
import socket
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import stacks  # noqa: E402

NOW = 1_795_288_266_000


def stream(name, key, **more):
    return {"name": name, "stream": key, "state": "live", "level": "green", "reason": "", "cursor": "c-1", "last_success_ms": NOW - 1500,
            "lag_s": 1.5, "rows": 10, "rows_per_s": 0.5, "last_error": "", "next_request_ms": 0} | more


def endpoint(name, **more):
    return {"name": name, "policy": "", "state": "open", "reason": "may go now", "next_ms": NOW, "wait_ms": 0, "paused": False,
            "rate_per_s": 0.5, "windows": [], "requests": 7, "throttled": 0, "errors": 0} | more


def page(level="green", sources=(), endpoints=(), **more):
    return {"version": "1", "now_ms": NOW, "state": "running", "summary": {"level": level, "text": "as a test has it"},
            "sources": list(sources), "endpoints": list(endpoints), "spool": {}, "store": {"state": "connected", "tables": []},
            "alerts": {"firing": 0, "critical": 0, "last": {"title": ""}}} | more


@pytest.fixture
def ask(tmp_path):
    """Runs the verb against a page; gives its exit code and its screen."""
    answer = {}

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(answer).encode()
            self.send_response(answer.get("status", 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    hub = http.server.ThreadingHTTPServer(("127.0.0.1", stacks.free_ports(1)[0]), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    config = tmp_path / "souk.yaml"
    config.write_text(json.dumps({"hub": {"host": "127.0.0.1", "port": hub.server_port}}))

    def run(shown):
        answer.clear()
        answer.update(shown)
        done = stacks.run_souk("status", config=config)
        return done.returncode, done.stdout or done.stderr

    yield run
    hub.shutdown()
    hub.server_close()


def lines_of(screen, name):
    """The line of @name and the lines beneath that belong to it."""
    at = next(n for n, text in enumerate(screen.splitlines()) if text.startswith(name))
    first, *rest = screen.splitlines()[at:]
    return [first, *itertools.takewhile(lambda text: text.startswith("    "), rest)]


@pytest.mark.parametrize(("level", "code"), [("green", 0), ("amber", 1), ("red", 2)])
def test_the_exit_code_is_the_level(ask, level, code):
    assert ask(page(level))[0] == code


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_neither_a_level_nor_silence(ask, status):
    code, said = ask({"status": status, "error": {"msg": "nobody may ask yet"}})
    assert code == 77
    assert f"HTTP {status}: nobody may ask yet" in said


def test_a_source_says_how_far_it_is_behind(ask):
    screen = ask(page(sources=[stream("psapi", "pc", lag_changes=1204, lag_estimate_s=3.4), stream("poe_ninja", "Standard/item"),
                               stream("psapi", "xbox", lag_changes=7, lag_estimate_s=None, last_success_ms=0, cursor=""),
                               stream("leagues", "pc", last_success_ms=0)]))[1]
    assert re.search(r"psapi +pc +live +green +1\.5 s +1204 changes, 3\.4 s ", screen)
    assert re.search(r"poe_ninja +Standard/item +live +green +1\.5 s +- ", screen)
    assert re.search(r"psapi +xbox +live +green +never +7 changes ", screen)
    assert re.search(r"leagues +pc +live +green +- +- +10 ", screen)  # Not since the start, but before.


def test_what_is_quiet_says_why_and_when_it_is_asked_again(ask):
    screen = ask(page(sources=[
        stream("account_stashes", "pc", state="off", reason="no token: set POE_CLIENT_SECRET", last_success_ms=0),
        stream("trade_data", "items", state="unavailable", last_error="HTTP 404", next_request_ms=NOW + 21_600_000),
        stream("leagues", "pc", last_error="once there was one"),
        stream("enrichment", "wiki", note="3 pages of 4"), stream("psapi", "pc", note="")]))[1]
    assert lines_of(screen, "account_stashes")[1:] == ["    off: no token: set POE_CLIENT_SECRET"]
    assert lines_of(screen, "trade_data")[1:] == ["    unavailable: HTTP 404; asked again in 6 h 00 min"]
    assert lines_of(screen, "leagues")[1:] == ["    once there was one"]
    assert lines_of(screen, "enrichment")[1:] == ["    3 pages of 4"]
    assert lines_of(screen, "psapi")[1:] == []


def test_each_limit_says_whether_a_request_may_go(ask):
    window = {"rule": "Ip", "limit": 2, "used": 2, "period_s": 1, "restriction_s": 60}
    screen = ask(page(endpoints=[
        endpoint("free", windows=[window | {"used": 1}, window | {"used": 9, "limit": 30, "period_s": 300}]),
        endpoint("paced", state="paced", wait_ms=6130, next_ms=NOW + 6130, reason="waits 6.1 s for Ip 2:1:60", windows=[window]),
        endpoint("killed", state="killed", wait_ms=None, next_ms=0, reason="killed: by hand"),
        endpoint("shared", waiting=2, windows=[window | {"used": 1}]),
        endpoint("paused", paused=True, wait_ms=None, next_ms=0, reason="paused: maintenance"),
        endpoint("asking", wait_ms=None, next_ms=0, reason="waits for a reply", throttled=1)]))[1]
    assert re.search(r"free +open +now +7 +0 +Ip 1/2 in 1 s, Ip 9/30 in 300 s$", lines_of(screen, "free")[0])
    assert len(lines_of(screen, "free")) == 1
    first, why = lines_of(screen, "paced")
    assert re.search(r"paced +paced +in 6\.1 s ", first)
    assert why == "    waits 6.1 s for Ip 2:1:60; next at 2026-11-21T19:11:12.130Z"
    assert re.search(r"killed +killed +never ", lines_of(screen, "killed")[0])
    assert lines_of(screen, "killed")[1] == "    killed: by hand; souk limit resume killed"
    assert lines_of(screen, "shared")[1:] == ["    2 waiting: work in the background keeps an even pace"]
    assert re.search(r"paused +open +never ", lines_of(screen, "paused")[0])
    assert re.search(r"asking +open +later +7 +1 +none announced, 0\.5 a second", lines_of(screen, "asking")[0])


def test_what_servers_say_cannot_steer_the_terminal(ask):
    screen = ask(page(sources=[stream("psapi", "pc", level="amber", reason="\x1b[2Jgone\nnext\x9b", cursor="\x07bell")],
                      endpoints=[endpoint("e", state="killed", wait_ms=None, reason="\x1b]0;title\x07")]))[1]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", screen)
    assert "     [2Jgone next" in screen


def test_the_tape_is_a_line(ask):
    screen = ask(page(tape={"items": 1000, "stashes": 20, "bytes": 3 << 20, "events": 77, "lag_s": 2.5, "snapshot_ms": NOW}))[1]
    assert "tape   1000 items in 20 stashes, 3.0 MiB, 77 events, 2.5 s behind" in screen
    assert "tape" not in ask(page())[1]
    assert "tape" not in ask(page(tape={"state": "off", "items": 0}))[1]


@pytest.mark.parametrize("host", ["::1", "::"])
def test_a_hub_on_ipv6_is_asked(tmp_path, host):
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(page()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

    hub = Server(("::1", stacks.free_ports(1)[0]), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    config = tmp_path / "souk.yaml"
    config.write_text(json.dumps({"hub": {"host": host, "port": hub.server_port}}))
    try:
        done = stacks.run_souk("status", config=config)
        assert done.returncode == 0 and "as a test has it" in done.stdout, done.stdout + done.stderr
    finally:
        hub.shutdown()
        hub.server_close()

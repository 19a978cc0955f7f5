"""What servers say cannot steer a terminal: each verb that asks somebody, against servers that answer with what would."""

import contextlib
import fcntl
import http.server
import itertools
import json
import pathlib
import re
import socketserver
import struct
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import stacks  # noqa: E402

# Escape, bell, backspace, return, delete, and the C1 forms of CSI and OSC; a caf\u00e9 is none of these.
HOSTILE = "caf\u00e9\x1b[2J\x1b]0;mine\x07\x08\r\x7f\x9b31m\x9d\x85 "
RAW = HOSTILE.encode() + b"\x9b31m\xff\xc2"  # And no UTF-8 at all.
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
NOW = 1_795_288_266_000


def hostile(value):
    """All that is text in @value, names too, with what steers terminals in it. Names go on to be found."""
    if isinstance(value, dict):
        return {key: hostile(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return value + HOSTILE if isinstance(value, str) else value


WINDOW = {"rule": "Ip", "limit": 2, "used": 2, "period_s": 1, "restriction_s": 60}
ENDPOINT = {"name": "e", "endpoint": "e", "policy": "p", "state": "paced", "reason": "waits", "next_ms": NOW, "wait_ms": 100, "waiting": 1,
            "paused": False, "rate_per_s": 0.5, "windows": [WINDOW], "requests": 7, "throttled": 0, "errors": 0, "inflight": 1,
            "classes": {"tail" + HOSTILE: {"waiting": 1, "granted": 2}}}
STREAM = {"source": "psapi", "name": "psapi", "stream": "pc", "state": "live", "level": "amber", "reason": "why", "note": "n",
          "last_error": "error", "cursor": "1-2", "frozen": "by hand", "asked": False, "rows": 1, "last_success_ms": NOW, "next_request_ms": NOW}
BACKFILL = {"source": "psapi", "key": "k", "from": "a", "to": "b", "cursor": "c", "state": "done", "hash": "h", "last_error": "e",
            "pages": 0, "stored": True}
PAGE = {"version": "1", "now_ms": NOW, "state": "running", "summary": {"level": "amber", "text": "text"}, "sources": [STREAM],
        "endpoints": [ENDPOINT], "spool": {}, "tape": {"state": "on"},
        "clock": {"follows": "another", "farthest": "x.example", "farthest_skew_s": 99},
        "store": {"state": "connected", "server": "here", "last_error": "e", "mistimed": "why", "mistimed_batches": 1,
                  "tables": [{"name": "t", "rows": 1}]},
        "alerts": {"firing": 1, "critical": 0, "last": {"title": "title"}}}
THROTTLE = {"endpoints": [ENDPOINT], "policies": [{"policy": "p", "windows": [WINDOW], "learned_ms": NOW}],
            "throttler": {"state": "away", "url": "http://x", "reason": "why", "since_ms": NOW}}
ANSWERS = {"/api/v1/status": PAGE, "/api/v1/throttle": THROTTLE, "/api/v1/cursor": {"streams": [STREAM]}, "/api/v1/cursor/set": STREAM,
           "/api/v1/cursor/freeze": STREAM, "/api/v1/sources/poll": {"streams": [STREAM]}, "/api/v1/backfill": BACKFILL | {"backfills": [BACKFILL]},
           "/api/v1/throttle/pause": ENDPOINT, "/api/v1/throttle/resume": ENDPOINT, "/api/v1/throttle/kill": ENDPOINT}


def answer_of(path, mode):
    """@return status, body"""
    if mode == "garbage":
        return 200, RAW
    if mode == "refused garbage":
        return 500, RAW
    if mode == "refused":
        return 409, json.dumps(hostile({"error": {"code": "conflict", "msg": "no"}}), ensure_ascii=False).encode()
    body = hostile(ANSWERS.get(path, {"ok": "yes"}))
    for b in body.get("backfills", []):  # The verb waits for these words.
        b.update(source="psapi", state="done")
    # A carriage return between two values is JSON, and so is a backspace in no text.
    return 200, b"\r" + json.dumps(body, ensure_ascii=False).encode() + b"\t\r\n"


class Server(http.server.BaseHTTPRequestHandler):
    """The hub, and the vendor of tokens."""
    mode = "answers"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urllib.parse.urlsplit(self.path).path
        status, body = answer_of(path, Server.mode)
        if path == "/oauth/token" and Server.mode == "answers":
            body = json.dumps({"access_token": "tok-0123456789", "refresh_token": "ref-0123456789", "expires_in": 3600, "token_type": "bearer",
                               "username": "exile\x9b31m\x85", "scope": "account:stashes oauth:revoke"}, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("X-Rate-Limit-Policy", "p\x1b[2J")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def text(raw):
    return bytes([len(raw)]) + raw


class ClickHouse(socketserver.BaseRequestHandler):
    """Says hello, or not, and to all else that it will not, in the native protocol."""
    greets = True

    def handle(self):
        refusal = b"\x02" + struct.pack("<i", 497) + text(b"DB::Exception") + text(RAW[:100]) + text(b"") + b"\x00"
        with contextlib.suppress(OSError):
            self.request.recv(1 << 16)
            if ClickHouse.greets:  # Of revision 54401: its time zone, its name, a patch.
                self.request.sendall(b"\x00" + text(RAW) + b"\x19\x08" + b"\x81\xa9\x03" + text(RAW) + text(RAW) + b"\x01")
                self.request.recv(1 << 16)
            self.request.sendall(refusal)


class Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def serve(kind, handler):
    server = kind(("127.0.0.1", stacks.free_ports(1)[0]), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terminal")
    hub, clickhouse = serve(http.server.ThreadingHTTPServer, Server), serve(Threads, ClickHouse)
    url = f"http://127.0.0.1:{hub.server_port}"
    file = folder / "souk.yaml"
    file.write_text(json.dumps({
        "state_dir": str(folder / "souk"), "agent": {"client_id": "me"}, "hub": {"host": "127.0.0.1", "port": hub.server_port},
        "clickhouse": {"host": "127.0.0.1", "port": clickhouse.server_address[1]},
        "sources": {"psapi": {"base_url": url, "seed_url": url, "start": "oldest", "period_s": 0.5}, "poe_ninja": {"base_url": url},
                    "oauth": {"base_url": url, "scopes": ["account:stashes", "oauth:revoke"]}}}))
    yield file
    for server in (hub, clickhouse):
        server.shutdown()
        server.server_close()


def fit(*said):
    """No byte of @said steers a terminal, and all of it is UTF-8."""
    for raw in said:
        found = CONTROLS.search(raw.decode())
        assert not found, (found, raw)


def souk(config, *arguments):
    done = subprocess.run([str(stacks.SOUK), "--config", str(config), *arguments], capture_output=True, timeout=60,
                          env=stacks.environment(), stdin=subprocess.DEVNULL)
    assert done.returncode >= 0, done  # No signal.
    fit(done.stdout, done.stderr)
    return done


OF_THE_HUB = ["status", "limit show", "limit show e", "limit show --markdown", "limit pause e", "limit kill e", "limit resume e",
              "cursor get", "cursor get psapi", "cursor set psapi pc 1-1 --reason r", "cursor freeze psapi pc", "ctl reload", "ctl flush",
              "ctl loglevel info", "ctl release-rows", "poll psapi", "backfill", "backfill psapi --from 1-1", "backfill psapi --from 1-1 --to 2-2 --stop"]


@pytest.fixture
def locked(config):
    """The lock of a running souk: cursor asks that one, instead of the log."""
    spool = config.parent / "souk" / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    with open(spool / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# A backfill that is followed asks on until it understands: garbage never ends it.
@pytest.mark.parametrize("verb, mode", [(verb, mode) for verb in OF_THE_HUB for mode in ("answers", "refused", "garbage", "refused garbage")
                                        if not (verb.startswith("backfill psapi --from") and mode == "garbage")])
def test_what_a_hub_says(config, locked, verb, mode):
    Server.mode = mode
    said = b""
    for more in ([], ["--json"]):
        done = souk(config, *verb.split(), *more)
        said += done.stdout + done.stderr
        if more and mode == "answers" and done.stdout.startswith((b"{", b" {")):
            json.loads(done.stdout.splitlines()[0] if verb.startswith("backfill") else done.stdout)
    if mode == "answers" and verb not in ("limit show e", "cursor get psapi") and not verb.startswith("ctl"):
        assert "caf\u00e9".encode() in said, said  # So it had its say.


def test_all_verbs_are_known_here():
    """Who adds a verb that asks somebody adds it here."""
    asked = {verb.split()[0] for verb in OF_THE_HUB} | set("check login logout replay schema verify wal".split())
    usage = stacks.run_souk("help").stdout
    assert set(re.findall(r"(?m)^  ([a-z]+) {2,}", usage.split("Options:")[0])) - asked <= {"help", "run", "version"}


@pytest.mark.parametrize("greets", [True, False])
@pytest.mark.parametrize("verb", ["check --env", "schema diff", "schema apply", "schema apply --yes"])
def test_what_a_clickhouse_says(config, verb, greets):
    ClickHouse.greets = greets
    for more in ([], ["--json"]):
        done = souk(config, *verb.split(), *more)
        assert "caf\u00e9".encode() in done.stdout + done.stderr, done


def test_what_an_upstream_says(config):
    """A run logs it, and its log keeps it: what reads the log shows it."""
    Server.mode, ClickHouse.greets = "refused garbage", True
    lone = json.loads(config.read_text())
    lone["hub"]["port"] = stacks.free_ports(1)[0]
    other = config.parent / "lone.yaml"
    for n, mode in enumerate(("refused garbage", "garbage", "answers")):
        Server.mode = mode
        lone["state_dir"] = str(config.parent / f"lone{n}")
        other.write_text(json.dumps(lone))
        done = souk(other, "run", "--for", "4s")
        assert b"event=" in done.stderr
        for verb in ("wal stat", "wal dump", "wal dump --payload", "wal verify", "verify", "replay", "replay --spool --into x", "cursor get",
                     "limit show --markdown --state"):
            for more in ([], ["--json"]):
                souk(other, *verb.split(), *more)


def test_what_the_vendor_says(config):
    for mode, command in itertools.product(("answers", "refused", "garbage"), ([], ["--json"])):
        Server.mode = mode
        login = subprocess.Popen([str(stacks.SOUK), "--config", str(config), "login", "account", "--no-browser", "--wait", "30s"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=stacks.environment(), stdin=subprocess.DEVNULL)
        shown = [login.stdout.readline() for _ in range(3)]
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(shown[2].decode()).query)
        with contextlib.suppress(OSError), stacks.OPENER.open(
                f"{asked['redirect_uri'][0]}?code=0123456789&state={asked['state'][0]}", timeout=20) as page:
            assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", page.read())
        out, err = login.communicate(timeout=30)
        fit(out, err)
        assert (login.returncode == 0) == (mode == "answers"), (out, err)
        if mode == "answers":
            assert b"Logged in as exile" in out
        souk(config, "login", "status", *command)
        souk(config, "logout", *command)

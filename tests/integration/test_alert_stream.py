"""The alert stream and the hub's HTTP surface, over real sockets against hub_demo.

hub_demo is built by Meson; SOUK_HUB_DEMO names it, else the usual build folders are searched. Each
group of the conformance table (push facts, section 7) that applies to plain TCP has a test here.
"""

import gzip
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from ws_conformance import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Client, Closed, Raw, frame, get,
                            handshake, wait_until)

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
import jsonl  # noqa: E402
import sampler  # noqa: E402


def find_demo():
    named = os.environ.get("SOUK_HUB_DEMO")
    places = [pathlib.Path(named)] if named else sorted(ROOT.glob("build*/**/src/hub/hub_demo"))
    for place in places:
        if place.is_file():
            return str(place)
    pytest.skip("hub_demo is not built")


class Demo:
    def __init__(self, *args, log=None, preexec=None):
        command = [find_demo(), "--handshakes", "1000", "--per-ip", "400", *args]
        if log:
            command += ["--log", str(log)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, preexec_fn=preexec)
        self.port = int(self.process.stdout.readline().split()[1])
        self.lock = threading.Lock()
        self.series = {}  # Of all that was looked at, for tests/lib/moved.py.

    def do(self, line):
        with self.lock:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            out = []
            while not out or out[-1] != "ok":
                out.append(self.process.stdout.readline().strip())
                assert out[-1], self.process.stderr.read()
            return out[0]

    def quit(self):
        """@return exit status and what it wrote to standard error (sanitizers write there)."""
        if self.process.poll() is None:
            self.process.stdin.write("quit\n")
            self.process.stdin.flush()
        _, err = self.process.communicate(timeout=20)
        if self.series and os.environ.get("SOUK_MOVED"):
            jsonl.append(os.environ["SOUK_MOVED"], {"metric": sampler.by_name(self.series)})
        self.series = {}
        return self.process.returncode, err

    def metric(self, name):
        body = get(self.port, "/metrics")[2].decode()
        sampler.add_metrics(body, self.series)
        values = [float(x.rsplit(" ", 1)[1]) for x in body.splitlines() if x.startswith(name)]
        return sum(values)

    def rss_kib(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])


@pytest.fixture
def demo():
    d = Demo()
    yield d
    status, err = d.quit()
    assert status == 0, err
    assert "Sanitizer" not in err and "runtime error" not in err, err


@pytest.fixture
def live(demo):
    c = Client(demo.port)
    c.until("live")
    return c


# --- Frames: RFC 6455 ---------------------------------------------------------------------------

@pytest.mark.parametrize("code,bad", [
    (1002, frame(TEXT, b"{}", mask=False)),                       # 1 unmasked
    (1009, frame(TEXT, b"x", length=1 << 20)),                    # 2 larger than the limit
    (1009, frame(TEXT, b"x", length=(1 << 63) - 1)),              # 3
    (1002, frame(TEXT, b"x", length=1 << 63)),                    # 3 the top bit is set
    (1002, bytes([0x81, 0xFE, 0, 5]) + b"\0\0\0\0hello"),         # 4 not the shortest length
    (1002, bytes([0x81, 0xFF]) + b"\0" * 7 + b"\5" + b"\0\0\0\0hello"),  # 4
    (1002, frame(TEXT, b"{}", rsv=4)),                            # 5 RSV1: nothing was negotiated
    (1002, frame(3, b"x")),                                       # 5 reserved opcodes
    (1002, frame(0xB, b"")),
    (1007, frame(TEXT, b"\xff")),                                 # 6 not UTF-8
    (1007, frame(TEXT, b"\xed\xa0\x80")),                         # 6 a surrogate
    (1007, frame(TEXT, b"\xc0\xaf")),                             # 6 overlong
    (1007, frame(TEXT, b"\xf4\x90", fin=False)),                  # 6 fails before the message ends
    (1007, frame(TEXT, b"\xe2\x82")),                             # 6 ends inside a character
    (1002, frame(PING, b"x", fin=False)),                         # 7 a fragmented control frame
    (1002, frame(PING, b"x" * 126)),                              # 7 a long one
    (1002, frame(CONT, b"x")),                                    # 9 nothing to continue
    (1002, frame(TEXT, b"{", fin=False) + frame(TEXT, b"}")),     # 9 text inside a message
    (1009, frame(TEXT, b"x", fin=False) + frame(CONT, b"x", fin=False) * 17000),  # 10
    (1002, frame(CLOSE, b"\x03")),                                # 12 one byte
    (1002, frame(CLOSE, b"\x03\xed")),                            # 12 1005
    (1002, frame(CLOSE, b"\x03\xe7")),                            # 12 999
    (1007, frame(CLOSE, b"\x03\xe8\xff")),                        # 12 its reason is not UTF-8
    (1003, frame(BINARY, b"x")),                                  # 14
], ids=lambda v: str(v) if isinstance(v, int) else v[:6].hex())
def test_bad_frames_are_closed_with_the_right_code(demo, code, bad):
    c = Client(demo.port)
    c.until("live")
    try:
        c.send(bad)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert c.close_code() == code


def test_a_frame_whose_rest_never_comes_is_cut(demo, live):
    live.send(frame(TEXT, b"{", length=100)[:8])
    demo.do("skip 6")
    assert live.close_code() == 1008


def test_ping_between_fragments_is_answered_before_the_message(live):
    text = b'{"t":"cmd","id":1,"key":"0123456789abcdef","op":"log","args":{"event_name":"x"}}'
    live.send(frame(TEXT, text[:9], fin=False) + frame(PING, b"now") + frame(CONT, text[9:]))
    assert live.frame() == (PONG, b"now")
    assert live.until("res")["ok"]


def test_a_message_cut_at_every_byte_is_the_same_message(demo, live):
    text = json.dumps({"t": "cmd", "id": 7, "key": "0123456789abcdef", "op": "log",
                       "args": {"event_name": "caf\u00e9"}}, ensure_ascii=False).encode()
    whole = frame(TEXT, text)
    results = []
    for cut in range(1, len(whole)):
        if cut % 15 == 0:
            demo.do("skip 10")  # The rate of messages is not what this is about.
        live.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        live.send(whole[:cut])
        live.send(whole[cut:])
        results.append(live.until("res"))
    assert all(r["ok"] and r["re"] == 7 for r in results)


@pytest.mark.parametrize("payload,code", [(b"", 1000), (b"\x03\xe8", 1000), (b"\x03\xf5", 1013)])
def test_close_is_echoed_and_the_server_ends_the_connection(live, payload, code):
    live.send(frame(CLOSE, payload) + frame(TEXT, b"not even JSON"))  # 13: ignored behind Close
    assert live.close_code() == code
    assert live.is_ended()


def test_early_frames_in_the_handshake_packet_are_read(demo):
    hello = frame(TEXT, b'{"t":"hello","id":1}')
    c = Client(demo.port, hello=False, early=hello + frame(PING, b"early"))
    assert c.read()["t"] == "welcome"
    while True:
        if c.frame() == (PONG, b"early"):
            break


def test_deflate_is_not_negotiated(demo):
    Client(demo.port, Sec_WebSocket_Extensions="permessage-deflate").until("live")  # asserts inside


def test_ping_flood_is_closed_and_memory_stays_flat(demo, live):
    before = demo.rss_kib()
    try:
        for _ in range(200):
            live.send(frame(PING, b"x" * 125) * 100)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert live.close_code() in (1008, None)
    assert demo.rss_kib() - before < 20000
    wait_until(lambda: demo.metric("souk_alert_clients") == 0)


def test_silence_is_pinged_and_then_cut(demo, live):
    demo.do("skip 21")
    while True:
        opcode, _ = live.frame()
        if opcode == PING:
            break
    demo.do("skip 30")
    assert live.close_code() is None


# --- Handshake ----------------------------------------------------------------------------------

@pytest.mark.parametrize("status,changes", [
    (403, {"Origin": "http://evil.example"}),
    (403, {"Origin": "null"}),
    (426, {"Sec_WebSocket_Version": "8"}),
    (426, {"Sec_WebSocket_Version": None}),
    (400, {"Sec_WebSocket_Key": "short"}),
    (400, {"Sec_WebSocket_Key": "!" * 22 + "=="}),
    (400, {"Sec_WebSocket_Protocol": None}),
    (400, {"Sec_WebSocket_Protocol": "alerts.v9"}),
    (421, {"Host": "evil.example"}),
    (421, {"Host": "127.0.0.1.evil.example"}),
])
def test_bad_handshakes_are_refused(demo, status, changes):
    c = Raw(demo.port)
    c.send(handshake(demo.port, **changes))
    got, headers, body = c.response()
    assert got == status, body
    assert json.loads(body)["error"]["code"]
    if status == 426:
        assert headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST:1234"])
def test_our_own_names_are_served_and_are_good_origins(demo, host):
    c = Client(demo.port, Host=host, Origin=f"http://{host}")
    assert c.welcome["mode"] == "snapshot"


def test_no_hello_within_5_s(demo):
    c = Client(demo.port, hello=False)
    demo.do("skip 6")
    assert c.close_code() == 4408


@pytest.mark.parametrize("first", [b"{}", b'{"t":"pos","off":1}', b"nope", b'{"t":"hello","sub":1}',
                                   b'{"t":"hello","resume":{"epoch":"x","off":-1}}',
                                   b'{"t":"hello","resume":{"epoch":"x","off":9007199254740992}}',
                                   b'{"t":"hello","resume":{"epoch":"x","off":1.5}}'])
def test_bad_hello_is_terminal(demo, first):
    c = Client(demo.port, hello=False)
    c.say(first)
    assert c.close_code() == 4400


def test_caps_refuse_politely_and_leave_others_alone():
    d = Demo("--per-ip", "4")
    try:
        clients = [Client(d.port) for _ in range(4)]
        c = Raw(d.port)
        c.send(handshake(d.port))
        status, headers, _ = c.response()
        assert status == 503 and headers["retry-after"]
        d.do("raise a info still there")
        assert all(x.until("ev")["alert"]["title"] == "still there" for x in clients)
    finally:
        status, err = d.quit()
    assert status == 0, err


def test_handshakes_have_a_rate():
    d = Demo("--handshakes", "3")
    try:
        answers = []
        for _ in range(6):
            c = Raw(d.port)
            c.send(handshake(d.port))
            answers.append(c.response()[0])
        assert answers.count(101) in (3, 4) and 503 in answers
    finally:
        d.quit()


# --- The protocol -------------------------------------------------------------------------------

@pytest.mark.parametrize("bad", [
    b"[" * 1000 + b"]" * 1000, b'{"t":"cmd","t":"pos"}', b'{"t":NaN}', b'{"t":"\\ud800"}',
    b'{"t":"a\\u0000b"}', b'{"t":"pos","off":', b"[]", b"1", b'{"a":' * 9 + b"1" + b"}" * 9,
    b'{"t":"' + b"x" * 1025 + b'"}'], ids=range(10))
def test_bad_json_is_told_and_survived(live, bad):
    live.say(bad)
    assert live.until("err")["code"] == "bad_json"
    live.say({"t": "cmd", "id": 1, "key": "0123456789abcdef", "op": "log", "args": {"event_name": "x"}})
    assert live.until("res")["ok"]


def test_numbers_beyond_bounds_and_large_messages(live):
    live.say(b'{"t":"cmd","id":18446744073709551616,"key":"0123456789abcdef","op":"log"}')
    assert live.until("err")["code"] == "bad_request"
    live.say(b'{"t":"log","pad":"' + b"x" * 5000 + b'"}')
    assert live.until("err")["code"] == "too_large"
    live.say({"t": "from the future", "x": 1})  # Unknown: ignored.
    live.say({"t": "cmd", "id": 1, "key": "0123456789abcdef", "op": "dance"})
    assert live.until("res")["err"]["code"] == "unknown_op"


def test_a_client_says_how_far_it_has_read(demo, live):
    assert demo.metric("souk_alert_client_lag_events_count") == 0
    for name in "abc":
        demo.do(f"raise {name} warning A title")
    top = max(live.until("ev")["off"] for _ in "abc")
    for off in (top - 2, top, top + 1, -1):  # Two of them cannot be.
        live.say({"t": "pos", "off": off})
    wait_until(lambda: demo.metric("souk_alert_client_lag_events_count") >= 2)
    live.say({"t": "cmd", "id": 1, "key": "0123456789abcdef", "op": "dance"})  # Answered behind all of them.
    live.until("res")
    assert demo.metric("souk_alert_client_lag_events_count") == 2
    assert demo.metric("souk_alert_client_lag_events_sum") == 2


def test_too_many_messages(live):
    for _ in range(25):
        live.say({"t": "pos", "off": 0})
    err = live.until("err")
    assert err["code"] == "rate_limited" and err["retry"] and err["retry_after_ms"] > 0
    for _ in range(30):
        live.say({"t": "pos", "off": 0})
    assert live.close_code() == 4029


def test_commands_are_idempotent_and_seen_by_all(demo, live):
    other = Client(demo.port)
    other.until("live")
    demo.do("raise drift critical lag")
    alert = live.until("ev")["alert"]["id"]
    other.until("ev")
    ack = {"t": "cmd", "id": 17, "key": "01JD40E4V7M2ZK8Q9T", "op": "ack", "args": {"alert": alert, "ver": 1}}
    live.say(ack)
    live.say({**ack, "id": 18})
    live.say({**ack, "id": 19, "args": {"alert": alert, "ver": 1, "note": "other"}})
    first, again, reuse = (live.until("res") for _ in range(3))
    assert first["ok"] and first["off"] == 2 and "dup" not in first
    assert again["ok"] and again["off"] == 2 and again["dup"]
    assert not reuse["ok"] and reuse["err"]["code"] == "key_reuse"
    assert other.until("ev")["kind"] == "acked"
    live.say({**ack, "key": "another-key-0000", "id": 20})
    stale = live.until("res")
    assert stale["err"]["code"] == "stale_version" and stale["alert"]["ver"] == 2
    status, _, body = get(demo.port, f"/api/v1/alerts/{alert}/snooze", "POST", b'{"for_s":900}',
                          Idempotency_Key="http-key-00000001")
    assert status == 200 and json.loads(body)["alert"]["snooze"]
    assert other.until("ev")["kind"] == "snoozed"


def test_escalation_clears_ack_and_breaks_snooze(demo, live):
    demo.do("raise drift warning lag")
    alert = live.until("ev")["alert"]["id"]
    for n, op, args in ((1, "ack", {}), (2, "snooze", {"for_s": 900})):
        live.say({"t": "cmd", "id": n, "key": f"key-of-the-test-{n}", "op": op, "args": {"alert": alert, **args}})
        live.until("res")
    demo.do("raise drift critical worse")
    while (ev := live.until("ev"))["kind"] != "escalated":
        pass
    assert ev["alert"]["ack"] is None and ev["alert"]["snooze"] is None


def test_mute_is_shown_to_all_and_ends(demo, live):
    demo.do("raise drift warning lag")
    live.until("ev")
    live.say({"t": "cmd", "id": 1, "key": "0123456789abcdef", "op": "mute",
              "args": {"match": {"class": "drift"}, "for_s": 60, "reason": "patch day"}})
    flag, muted, res = live.read(), live.read(), live.read()
    assert flag["t"] == "flag" and flag["name"] == "mute" and flag["value"]
    assert muted["kind"] == "muted" and muted["alert"]["muted_by"] == [flag["mute"]["id"]]
    assert res["ok"] and res["mute"] == flag["mute"]["id"]
    late = Client(demo.port)
    assert late.until("snap_begin")["mutes"][0]["reason"] == "patch day"
    demo.do("skip 61")
    demo.do("tick")
    while (ev := live.until("ev"))["kind"] != "unmuted":
        pass
    assert ev["alert"]["muted_by"] == []


def test_resume_replays_exactly_what_was_missed(demo, live):
    epoch = live.welcome["epoch"]
    for i in range(5):
        demo.do(f"raise c{i} warning t{i}")
    mine = [live.until("ev") for _ in range(5)]
    back = Client(demo.port, resume=(epoch, 2))
    assert back.welcome["mode"] == "replay" and back.welcome["recovered"]
    events = [back.read() for _ in range(3)]
    assert [e["off"] for e in events] == [3, 4, 5]
    assert [e["prev"] for e in events] == [2, 3, 4]
    assert all(e["replay"] for e in events)
    assert [e["alert"] for e in events] == [e["alert"] for e in mine[2:]]
    assert back.read() == {"t": "live", "off": 5}
    for resume in (("aaaaaaaa", 2), (epoch, 6)):
        other = Client(demo.port, resume=resume)
        assert other.welcome["mode"] == "snapshot" and not other.welcome["recovered"]
        assert other.until("snap_begin")["total"] == 5


def test_filters_keep_prev_checkable(demo):
    c = Client(demo.port, sub={"sev": "warning", "class": ["a", "b"]})
    c.until("live")
    for line in ("raise a info x", "raise b warning x", "raise z critical x", "raise a critical x"):
        demo.do(line)
    first, second = c.until("ev"), c.until("ev")
    assert (first["off"], first["prev"]) == (2, 0)
    assert (second["off"], second["prev"], second["kind"]) == (4, 2, "escalated")
    demo.do("skip 6")
    assert c.until("hb")["sent"] == 4


def test_restart_keeps_epoch_offsets_and_keys(tmp_path):
    log = tmp_path / "log"
    d = Demo(log=log)
    c = Client(d.port)
    d.do("raise drift warning lag")
    alert = c.until("ev")["alert"]["id"]
    ack = {"t": "cmd", "id": 1, "key": "0123456789abcdef", "op": "ack", "args": {"alert": alert}}
    c.say(ack)
    c.until("res")
    epoch = c.welcome["epoch"]
    assert d.quit()[0] == 0
    d = Demo(log=log)
    back = Client(d.port, resume=(epoch, 1))
    assert back.welcome["mode"] == "replay"
    assert back.read()["kind"] == "acked"
    back.say(ack)
    res = back.until("res")
    assert res["ok"] and res["dup"] and res["off"] == 2
    d.do("clear drift")
    assert back.until("ev")["kind"] == "resolved"
    assert d.quit()[0] == 0


def test_a_log_that_fails_changes_the_epoch_and_refuses_commands(demo, live):
    demo.do("raise drift warning lag")
    alert = live.until("ev")["alert"]["id"]
    demo.do("break")
    demo.do("raise other critical goes out all the same")
    assert live.close_code() == 4010
    back = Client(demo.port, resume=(live.welcome["epoch"], 1))
    assert back.welcome["mode"] == "snapshot" and back.welcome["epoch"] != live.welcome["epoch"]
    assert back.until("snap_begin")["total"] == 2
    ack = {"t": "cmd", "id": 1, "key": "0123456789abcdef", "op": "ack", "args": {"alert": alert}}
    back.say(ack)
    res = back.until("res")
    assert res["err"]["code"] == "unavailable" and res["err"]["retry"]
    demo.do("mend")
    demo.do("tick")
    back.say({**ack, "id": 2})
    res = back.until("res")
    assert res["ok"] and res["dup"]


def test_slow_consumer_is_closed_and_others_do_not_notice(demo):
    slow = Client(demo.port, rcvbuf=4096)
    fast = Client(demo.port)
    fast.until("live")
    before = demo.rss_kib()
    seen = []

    def read_all():
        while len(seen) < 3000:
            seen.append(fast.until("ev")["off"])

    reader = threading.Thread(target=read_all)
    reader.start()
    for _ in range(30):
        demo.do("burst 100")
    reader.join(30)
    assert seen == list(range(1, 3001))
    wait_until(lambda: demo.metric('souk_alert_client_dropped_total{reason="slow"}') == 1)
    assert slow.close_code() == 4008
    assert demo.rss_kib() - before < 120000  # 3,000 incidents with their events, under ASan.
    back = Client(demo.port, resume=(fast.welcome["epoch"], 0))
    offs = []
    while (m := back.read())["t"] != "live":
        if m["t"] == "ev":
            offs.append(m["off"])
    assert offs == list(range(1, 3001))


def test_sse_is_the_same_stream(demo):
    c = Raw(demo.port)
    c.send(f"GET /sse/alerts HTTP/1.1\r\nHost: localhost:{demo.port}\r\n\r\n".encode())
    while b'"t":"live"' not in c.buf:
        c.fill()
    assert b"retry: 1000" in c.buf and b"text/event-stream" in c.buf
    demo.do("raise drift warning over sse")
    while b"over sse" not in c.buf:
        c.fill()
    epoch = demo.do("epoch").split()[0]
    assert f"id: {epoch}:1\n".encode() in c.buf
    again = Raw(demo.port)
    again.send(f"GET /sse?since={epoch}:0 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    while b'"t":"live"' not in again.buf:
        again.fill()
    assert b'"replay":true' in again.buf and b'"mode":"replay"' in again.buf
    c.close()
    wait_until(lambda: demo.do("skip 6") and demo.metric("souk_alert_clients") == 1)


# --- HTTP ---------------------------------------------------------------------------------------

def test_http_surface(demo):
    assert get(demo.port, "/-/healthy")[0] == 200
    assert get(demo.port, "/-/ready")[0] == 200
    demo.do("break")
    assert get(demo.port, "/-/ready")[::2] == (503, b"the log is broken\n")
    demo.do("mend")
    for path in ("/api/v1/status", "/status.json"):
        assert json.loads(get(demo.port, path)[2])["version"]
    assert json.loads(get(demo.port, "/api/v1/alerts?status=firing")[2])["alerts"] == []
    assert get(demo.port, "/api/v1/alerts?status=nope")[0] == 400
    assert get(demo.port, "/nope")[0] == 404
    status, headers, _ = get(demo.port, "/metrics", "POST", b"x")
    assert status == 405 and "GET" in headers["allow"]
    assert get(demo.port, "/api/v1/alerts/al_x/ack", "POST", b"x" * 20000, Idempotency_Key="k" * 16)[0] == 413
    assert get(demo.port, "/api/v1/alerts/al_x/ack", "POST", b"")[0] == 400
    assert get(demo.port, "/api/v1/alerts/al_x/ack", "POST", b"{}", Idempotency_Key="k" * 16)[0] == 404
    assert get(demo.port, "/api/v1/alerts/al_x/ack", "POST", b"{}", Idempotency_Key="k" * 16,
               Origin="http://evil.example")[0] == 403
    status, headers, body = get(demo.port, "/")
    assert status == 200 and "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    if "etag" in headers:
        assert get(demo.port, "/", If_None_Match=headers["etag"])[0] == 304
        gz = get(demo.port, "/", Accept_Encoding="gzip")
        assert gz[1]["content-encoding"] == "gzip" and gzip.decompress(gz[2]) == body


def test_metrics_satisfy_promtool(demo, live):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    demo.do("raise drift critical lag")
    body = get(demo.port, "/metrics")[2]
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert demo.metric("souk_alert_clients") == 1


@pytest.mark.parametrize("extra", ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                                   "Content-Length: 0\r\nContent-Length: 44\r\n\r\n"])
def test_a_request_cannot_hide_in_the_body_of_another(demo, extra):
    c = Raw(demo.port)
    second = f"GET /-/healthy HTTP/1.1\r\nHost: localhost:{demo.port}\r\n\r\n"
    c.send(f"POST /api/v1/ws-ticket HTTP/1.1\r\nHost: localhost:{demo.port}\r\n{extra}{second}".encode())
    answers = b""
    try:
        while True:
            c.fill()
    except (Closed, ConnectionResetError):
        answers = c.buf
    assert answers.count(b"HTTP/1.1 ") == 1


def test_tokens_and_tickets():
    d = Demo("--token", "reader:reader-secret-0001:r", "--token", "writer:writer-secret-0001:rw")
    try:
        assert get(d.port, "/metrics")[0] == 200
        assert get(d.port, "/api/v1/status")[0] == 401
        assert get(d.port, "/api/v1/status", Authorization="Bearer wrong-secret-00001")[0] == 401
        assert get(d.port, "/api/v1/status", Authorization="Bearer reader-secret-0001")[0] == 200
        assert get(d.port, "/api/v1/alerts/a/ack", "POST", b"{}", Idempotency_Key="k" * 16,
                   Authorization="Bearer reader-secret-0001")[0] == 403
        c = Raw(d.port)
        c.send(handshake(d.port))
        assert c.response()[0] == 401
        reader = Client(d.port, Authorization="Bearer reader-secret-0001")
        assert reader.welcome["scopes"] == ["alerts:read"]
        reader.say({"t": "cmd", "id": 1, "key": "0123456789abcdef", "op": "test", "args": {}})
        assert reader.until("res")["err"]["code"] == "forbidden"
        ticket = json.loads(get(d.port, "/api/v1/ws-ticket", "POST", b"",
                                Authorization="Bearer writer-secret-0001")[2])["ticket"]
        page = {"Origin": f"http://127.0.0.1:{d.port}"}
        c = Client(d.port, hello=False, **page)
        assert "alerts:write" in c.hello(ticket=ticket)["scopes"]
        again = Client(d.port, hello=False, **page)
        again.say({"t": "hello", "ticket": ticket})
        assert again.close_code() == 4401
        cookie = get(d.port, "/api/v1/session", "POST", b"", Authorization="Bearer reader-secret-0001")[1]["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert get(d.port, "/api/v1/status", Cookie=cookie.split(";")[0])[0] == 200
        assert get(d.port, "/api/v1/status", Cookie="souk_session=" + "0" * 32)[0] == 401
    finally:
        status, err = d.quit()
    assert status == 0, err


def test_port_in_use_is_said(demo):
    out = subprocess.run([find_demo(), "--port", str(demo.port)], capture_output=True, text=True,
                         stdin=subprocess.DEVNULL, timeout=20)
    assert out.returncode == 1
    assert f"port {demo.port}" in out.stderr and "in use" in out.stderr


# --- Ends ---------------------------------------------------------------------------------------

def test_abrupt_ends_leave_nothing_behind(demo):
    for i in range(40):
        c = Raw(demo.port)
        text = handshake(demo.port)
        c.send(text[: len(text) * (i % 8 + 1) // 8])
        if i % 8 == 7:
            c.response()
            c.send(frame(TEXT, b'{"t":"hello"}')[: i % 18])
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        c.close()
    for _ in range(10):
        c = Client(demo.port)
        demo.do("burst 20")
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        c.close()
    wait_until(lambda: demo.metric("souk_hub_connections") == 1 and demo.metric("souk_alert_clients") == 0)


def test_shutdown_says_bye_to_all():
    d = Demo()
    clients = [Client(d.port) for _ in range(200)]
    idle = Raw(d.port)
    idle.send(f"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    idle.response()
    start = time.monotonic()
    d.process.stdin.write("quit\n")
    d.process.stdin.flush()
    for c in clients:
        assert c.until("bye")["reconnect_ms"]
        try:
            c.read()
            pytest.fail("something behind bye")
        except Closed as e:
            assert e.code == 1001
        c.send(frame(CLOSE, b"\x03\xe9"))
    _, err = d.process.communicate(timeout=20)
    assert d.process.returncode == 0, err
    assert "Sanitizer" not in err
    assert time.monotonic() - start < 8

"""What hostile peers can make the hub spend, against hub_demo over real sockets.

Each attack is judged by counts (requests served, bytes held, descriptors open), not by the clock, and
each ends with the hub as it was: nothing held, nothing still being worked off, others served.
"""

import os
import pathlib
import resource
import socket
import struct
import time

import pytest

from test_alert_stream import Demo
from ws_conformance import Client, get, wait_until

KIB = 1024


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), timeout=20)
    s.settimeout(20)
    return s


def push(s, data):
    """As much of @data as the peer takes; it may end the connection meanwhile."""
    try:
        s.sendall(data)
        return True
    except OSError:
        return False


def read_all(s):
    out = b""
    try:
        while piece := s.recv(65536):
            out += piece
    except OSError:
        pass
    return out


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def refused(demo, reason):
    return demo.metric(f'souk_hub_refused_total{{reason="{reason}"}}')


def descriptors(demo):
    return len(list(pathlib.Path(f"/proc/{demo.process.pid}/fd").iterdir()))


def is_calm(demo):
    """Nothing is held, only our own connection is left, and nothing is worked off behind our back."""
    try:
        connections = demo.metric("souk_hub_connections")
    except OSError:  # Refused, as those before us are still being closed.
        return False
    if connections > 1 or demo.metric("souk_hub_input_bytes") > 4 * KIB:
        return False
    served = demo.metric("souk_hub_requests_total")
    return demo.metric("souk_hub_requests_total") - served == 1


def attacked(*args, **kwargs):
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"  # Else freed memory stays.
    return Demo(*args, **kwargs)


@pytest.fixture
def demo():
    d = attacked()
    yield d
    status, err = d.quit()
    assert status == 0, err
    assert "Sanitizer" not in err and "runtime error" not in err, err


@pytest.mark.parametrize("leave", ["half", "all", "reset"])
def test_pipelined_requests_of_peers_that_left_are_dropped(demo, leave):
    wait_until(lambda: is_calm(demo), 30)
    before, each = demo.metric("souk_hub_requests_total"), 150
    peers = [connect(demo.port) for _ in range(60)]
    for s in peers:
        push(s, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * each)
    for s in peers:
        if leave == "half":
            s.shutdown(socket.SHUT_WR)
        elif leave == "all":
            s.close()
        else:
            reset(s)
    if leave == "half":
        for s in peers:
            read_all(s)  # It ends: the rest is not answered.
            s.close()
    wait_until(lambda: is_calm(demo), 60)
    served = demo.metric("souk_hub_requests_total") - before
    assert served < 60 * 12, served  # Of 9,000.
    if leave == "half":
        assert refused(demo, "pipeline") + refused(demo, "gone") >= 60


def test_a_refused_connection_is_not_parsed():
    demo = attacked("--per-ip", "8")
    kept = [connect(demo.port) for _ in range(6)]
    for s in kept:
        push(s, b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
    start = demo.rss_kib()
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 4000) for i in range(96))
    flood = [connect(demo.port) for _ in range(300)]
    for s in flood:
        push(s, head)
    most = demo.rss_kib() - start
    assert most < 40 * KIB, f"{most} KiB"  # They sent 115 MiB.
    assert any(read_all(s).startswith(b"HTTP/1.1 503") for s in flood)
    for s in flood + kept:
        s.close()
    wait_until(lambda: is_calm(demo), 60)
    assert refused(demo, "address") >= 290
    status, err = demo.quit()
    assert status == 0, err


def test_heads_and_bodies_have_bounds_one_by_one_and_together(demo):
    start = demo.rss_kib()
    endless = [connect(demo.port) for _ in range(100)]
    for s in endless:
        push(s, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * (390 * KIB))
    assert any(read_all(s).startswith(b"HTTP/1.1 431") for s in endless)
    wait_until(lambda: refused(demo, "head") == 100, 30)
    n_bodies = 380 - len(endless)
    while endless:
        endless.pop().close()
    wait_until(lambda: is_calm(demo), 60)  # Those that are still being closed would take the places of others.
    bodies = [connect(demo.port) for _ in range(n_bodies)]
    for s in bodies:
        push(s, b"POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65000\r\n\r\n" + b"z" * 64500)
    more = [connect(demo.port) for _ in range(100)]
    for s in more:
        push(s, b"POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfff0\r\n" + b"z" * 64500)
    wait_until(lambda: refused(demo, "memory") > 0, 60)
    held = demo.metric("souk_hub_input_bytes")
    assert held <= 16 * KIB * KIB + 380 * 4 * KIB, held  # Of 24 MiB.
    assert demo.rss_kib() - start < 80 * KIB
    assert get(demo.port, "/-/healthy")[0] == 200  # A small request finds its way.
    for s in bodies + more:
        s.close()
    wait_until(lambda: is_calm(demo), 60)


def test_answers_that_nobody_takes_have_a_bound_together(demo):
    demo.do("burst 4000")
    one = len(get(demo.port, "/api/v1/alerts")[2])
    wanted = 80 * KIB * KIB // one + 10
    assert one > 400 * KIB and wanted < 390, one  # More than the kernel takes of each, and of all than there may be.
    peers = []
    for _ in range(wanted):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
        s.settimeout(20)
        s.connect(("127.0.0.1", demo.port))
        push(s, b"GET /api/v1/alerts HTTP/1.1\r\nHost: localhost\r\n\r\n")
        peers.append(s)
    wait_until(lambda: refused(demo, "memory") > 0, 60)
    held = demo.metric("souk_hub_answer_bytes")
    assert 0 < held <= 64 * KIB * KIB
    assert get(demo.port, "/-/healthy")[0] == 200
    for s in peers:
        reset(s)
    wait_until(lambda: is_calm(demo) and demo.metric("souk_hub_answer_bytes") < one, 60)


@pytest.mark.parametrize("begun", [b"\x81", b"\x81\xfe", b"\x81\xfe\x00\x80", b"\x81\x85abcd",
                                   b"\x8a\x80abcd\x81", b"\x8a\x80abcd\x89\x82ab"], ids=lambda v: v.hex())
def test_a_frame_whose_header_never_ends_is_cut(demo, begun):
    c = Client(demo.port)
    c.until("live")
    c.send(begun)
    time.sleep(0.5)  # It has come.
    demo.do("skip 3")
    c.send(b"")
    demo.do("skip 3")
    assert c.close_code() == 1008


def test_whole_frames_in_odd_pieces_are_no_late_frame(demo):
    """The deadline is of one frame: who always has begun the next one is not cut."""
    c = Client(demo.port)
    c.until("live")
    ping = b"\x8a\x80abcd"
    c.send(ping[:1])
    for _ in range(5):
        demo.do("skip 2")
        c.send(ping[1:] + ping[:1])
        time.sleep(0.4)
    c.send(ping[1:])
    assert c.until("hb")


def test_descriptors_are_kept_for_others():
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (240, 240))

    demo = attacked(preexec=limit)
    client = Client(demo.port)
    client.until("live")
    demo.do("fds 100")
    used = descriptors(demo)
    flood = [connect(demo.port) for _ in range(150)]
    wait_until(lambda: descriptors(demo) >= 240 - 60, 30)
    ended = sum(read_all_now(s) for s in flood)
    assert ended > 0 and descriptors(demo) <= 240 - 60 + 1  # A quarter of them is kept.
    demo.do("tick")
    event = client.until("ev")
    assert event["alert"]["class"] == "descriptors_short" and event["alert"]["sev"] == "warning"
    for s in flood:
        s.close()
    wait_until(lambda: descriptors(demo) <= used, 30)
    assert refused(demo, "descriptors") > 0 and demo.metric("souk_hub_descriptors_short") == 1
    demo.do("fds 0")
    demo.do("skip 61")
    wait_until(lambda: demo.metric("souk_hub_descriptors_short") == 0, 30)
    status, err = demo.quit()
    assert status == 0 and "descriptors are short" in err, err


def read_all_now(s):
    """Whether the other side has ended the connection."""
    s.settimeout(0.05)
    try:
        return s.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_descriptors_that_others_take_are_noticed():
    """libuv accepts and drops connections when there is no descriptor, and tells nobody: nobody can count them."""
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))

    demo = attacked(preexec=limit)
    client = Client(demo.port)
    client.until("live")
    demo.do("fds 1000")  # All that there are.
    with connect(demo.port):
        event = client.until("ev")
    assert event["alert"]["class"] == "descriptors_short"
    demo.do("fds 0")
    wait_until(lambda: get(demo.port, "/-/healthy")[0] == 200, 30)
    assert demo.quit()[0] == 0


def test_more_clients_than_descriptors_are_not_promised():
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    demo = attacked("--clients", "1000", preexec=limit)
    assert get(demo.port, "/-/healthy")[0] == 200
    status, err = demo.quit()
    assert status == 0 and "clients_max=1000" in err and "now=75" in err, err


@pytest.mark.parametrize("path", ["/sse", "/sse/alerts", "/metrics", "/api/v1/status", "/", "/ws"])
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PUT"])
def test_other_methods_begin_nothing(demo, method, path):
    with connect(demo.port) as s:
        push(s, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = read_all(s)
    assert answer.startswith(b"HTTP/1.1 2" if method == "HEAD" and path != "/ws" else b"HTTP/1.1 4"), answer
    assert demo.metric("souk_alert_clients") == 0
    wait_until(lambda: is_calm(demo), 30)

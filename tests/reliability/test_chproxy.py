"""The fault proxy itself, against a real ClickHouse, with a client of a few lines that sends plain blocks."""

import contextlib
import os
import socket
import struct
import subprocess
import time

import chproxy
import pytest
from chproxy import TERMINATOR, Proxy, put_string, put_varint
from stacks import CLICKHOUSE, LOGINS, ask, free_ports, listens, until


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine")
    native, http = free_ports(2)
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([str(CLICKHOUSE), "--path", str(folder / "data"), "--tcp-port", str(native),
                                    "--http-port", str(http)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until("ClickHouse answers", 90, lambda: ask(http, "/ping") and listens(native))
        password = (folder / "data/password").read_text().strip()
        LOGINS[http] = {"X-ClickHouse-User": "souk", "X-ClickHouse-Key": password}
        ask(http, "/", "CREATE TABLE default.t (a UInt32) ENGINE = MergeTree ORDER BY a "
                       "SETTINGS non_replicated_deduplication_window = 1000")
        yield native, http, password
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def proxy(engine):
    ask(engine[1], "/", "TRUNCATE TABLE default.t")
    with Proxy(free_ports(1)[0], engine[0]) as running:
        yield running


def rows(engine):
    return int(ask(engine[1], "/", "SELECT count() FROM default.t"))


class Client:
    """Says hello, inserts UInt32 into default.t, and reads until the end of stream or an exception."""

    def __init__(self, port, password, revision=54488):
        self.s = socket.create_connection(("127.0.0.1", port), 5)
        self.s.settimeout(20)
        self.s.sendall(b"\x00" + put_string("test") + put_varint(1) + put_varint(1) + put_varint(revision)
                       + put_string("default") + put_string("souk") + put_string(password))
        self.s.recv(4096)
        self.s.sendall(put_string(""))  # The addendum: a quota key.

    def query(self, sql, token=""):
        settings = b""
        if token:
            settings = put_string("insert_deduplication_token") + b"\x01" + put_string(token)
        info = (b"\x01" + put_string("") * 2 + put_string("0.0.0.0:0") + bytes(8) + b"\x01" + put_string("") * 3
                + put_varint(1) + put_varint(1) + put_varint(chproxy.REVISION_MAX) + put_string("") + b"\x00\x00\x00"
                + b"\x00\x00\x00")
        self.s.sendall(b"\x01" + put_string("") + info + settings + put_string("") + put_string("") + b"\x02\x00"
                       + put_string(sql) + put_string("") + TERMINATOR)

    def insert(self, values, token):
        self.query("INSERT INTO default.t (a) VALUES", token)
        block = (b"\x02\x00" + chproxy.EMPTY[:8] + put_varint(1) + put_varint(len(values)) + put_string("a")
                 + put_string("UInt32") + b"\x00" + struct.pack(f"<{len(values)}I", *values))
        self.s.sendall(block + TERMINATOR)

    def answer(self):
        """@return all bytes to the end of stream or the server's goodbye; a reset raises."""
        out = b""
        while not out.endswith(b"\x05"):
            piece = self.s.recv(65536)
            if not piece:
                return out
            out += piece
        return out


def test_an_insert_passes_and_is_written_down(engine, proxy):
    c = Client(proxy.port, engine[2])
    c.insert(range(1000), "one")
    assert c.answer().endswith(b"\x05")
    attempt = until("it is written down", 5, lambda: [a for a in proxy.seen("t") if a.client])[0]
    assert (attempt.token, attempt.rows, attempt.server, attempt.client) == ("one", 1000, "committed", "told")
    assert rows(engine) == 1000
    c.query("SELECT 1")
    assert c.answer().endswith(b"\x05")
    assert proxy.queries == 2 and not proxy.unread


def test_a_lost_reply_is_lost_after_the_commit(engine, proxy):
    proxy.fault("lose_reply")
    c = Client(proxy.port, engine[2])
    c.insert([1, 2, 3], "two")
    with pytest.raises(ConnectionResetError):
        c.answer()
        c.s.recv(1)  # The header may have come before the reset.
    assert rows(engine) == 3
    c = Client(proxy.port, engine[2])
    c.insert([1, 2, 3], "two")
    assert c.answer().endswith(b"\x05")
    assert rows(engine) == 3 and proxy.again() == 1


@pytest.mark.parametrize("kind", ["cut_before_data", "cut_in_block"])
def test_a_cut_insert_is_not_stored(engine, proxy, kind):
    proxy.fault(kind)
    c = Client(proxy.port, engine[2])
    c.insert(range(50_000), kind)
    with contextlib.suppress(ConnectionResetError):
        c.answer()
    until("it is written down", 5, lambda: proxy.seen("t")[0].client == "cut")
    assert proxy.seen("t")[0].server == "" and rows(engine) == 0


@pytest.mark.parametrize("kind", ["exception", "partial_error"])
def test_an_exception_is_of_the_code_that_was_asked_for(engine, proxy, kind):
    proxy.fault(kind, code=252, message="too many parts")
    c = Client(proxy.port, engine[2])
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        c.insert(range(50_000), kind)
    answer = c.answer()
    assert chproxy.exception_packet(252, "too many parts") in answer
    assert rows(engine) == 0


def test_late_data_arrive_after_the_client_is_gone(engine, proxy):
    proxy.fault("late_delivery", seconds=0.5)
    c = Client(proxy.port, engine[2])
    c.insert([7], "late")
    with contextlib.suppress(ConnectionResetError):
        c.answer()
    assert rows(engine) == 0
    attempt = until("it is delivered", 10, lambda: (a := proxy.seen("t")[0]).server and a)
    assert (attempt.server, attempt.client) == ("committed", "cut")
    assert rows(engine) == 1


def test_a_held_reply_comes_late(engine, proxy):
    proxy.fault("hold_reply", seconds=0.5)
    c, begun = Client(proxy.port, engine[2]), time.monotonic()
    c.insert([8], "held")
    assert c.answer().endswith(b"\x05")
    assert time.monotonic() - begun >= 0.5 and rows(engine) == 1


def test_refusal_and_throttle(engine, proxy):
    c = Client(proxy.port, engine[2])
    proxy.refuse()
    with pytest.raises(OSError):
        Client(proxy.port, engine[2])
    with contextlib.suppress(ConnectionResetError):
        assert c.s.recv(10) == b""
    proxy.accept()
    proxy.bytes_per_s = 400_000
    c, begun = Client(proxy.port, engine[2]), time.monotonic()
    c.insert(range(50_000), "slow")
    assert c.answer().endswith(b"\x05")
    assert time.monotonic() - begun > 0.4 and rows(engine) == 50_000


def test_faults_are_met_in_order_and_by_table(proxy):
    proxy.fault("lose_reply", table="^other$")
    proxy.fault("stall", times=2)
    assert [proxy.pick("t").kind, proxy.pick("t").kind, proxy.pick("t")] == ["stall", "stall", None]
    assert proxy.pick("other").kind == "lose_reply"
    with pytest.raises(ValueError):
        proxy.fault("nonsense")


def test_what_is_not_understood_is_passed_on(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as s:
        s.sendall(b"\x16\x03\x01" + os.urandom(5))
        s.settimeout(5)
        with contextlib.suppress(OSError):
            s.recv(100)
    until("it is counted", 5, lambda: len(proxy.unread) == 1)


def test_the_head_of_a_block_is_read_out_of_lz4():
    # Literals, then a match that repeats the last byte: "abc" and eight times "c".
    assert chproxy.lz4_head(b"\x34abc\x01\x00", 11) == b"abc" + b"c" * 8
    assert chproxy.rows_of(chproxy.EMPTY[:8] + b"\x02\xe8\x07rest") == 1000

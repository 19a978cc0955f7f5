"""A WebSocket client over raw sockets, which can also do what no client should.

Standard library only, so that a test says exactly which bytes go out.
"""

import base64
import json
import os
import socket
import struct
import time

TEXT, BINARY, CLOSE, PING, PONG, CONT = 1, 2, 8, 9, 10, 0


def frame(opcode, payload=b"", fin=True, rsv=0, mask=True, length=None):
    """One client frame; @length lies about the payload's size."""
    n = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", n)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(b ^ key[i % 4] for i, b in enumerate(payload))


def handshake(port, path="/ws/alerts", **changes):
    """The text of a handshake. Headers are replaced by name; None leaves one out."""
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": "alerts.v1",
    }
    headers.update({k.replace("_", "-"): v for k, v in changes.items()})
    lines = [f"{k}: {v}" for k, v in headers.items() if v is not None]
    return (f"GET {path} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()


class Closed(Exception):
    """The server ended the connection; code is None without a Close frame."""

    def __init__(self, code, reason=""):
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Raw:
    """A connection. Reads have a deadline; nothing here sleeps."""

    def __init__(self, port, timeout=10.0, rcvbuf=None):
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        self.sock.connect(("127.0.0.1", port))
        self.port = port
        self.buf = b""

    def send(self, data):
        self.sock.sendall(data)

    def close(self):
        self.sock.close()

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise Closed(None)
        self.buf += data

    def take(self, n):
        while len(self.buf) < n:
            self.fill()
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def response(self):
        """@return status, headers (lower case), body of one HTTP answer."""
        while b"\r\n\r\n" not in self.buf:
            self.fill()
        head, self.buf = self.buf.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, v in (x.split(":", 1) for x in lines[1:])}
        status = int(lines[0].split()[1])
        body = self.take(int(headers.get("content-length", 0))) if status not in (101, 304) else b""
        return status, headers, body

    def is_ended(self):
        """@return whether the server ends the connection without saying more."""
        try:
            self.fill()
            return False
        except (Closed, ConnectionResetError):
            return True


class Client(Raw):
    """A WebSocket client after its handshake."""

    def __init__(self, port, hello=True, resume=None, sub=None, path="/ws/alerts", rcvbuf=None, early=b"", **changes):
        super().__init__(port, rcvbuf=rcvbuf)
        self.send(handshake(port, path, **changes) + early)
        status, headers, body = self.response()
        assert status == 101, (status, body)
        assert headers["sec-websocket-protocol"] == "alerts.v1"
        assert "sec-websocket-extensions" not in headers
        self.welcome = None
        if hello:
            self.hello(resume, sub)

    def hello(self, resume=None, sub=None, **more):
        message = {"t": "hello", "id": 1, "client": {"name": "test", "ver": "1"}, **more}
        if resume:
            message["resume"] = {"epoch": resume[0], "off": resume[1]}
        if sub:
            message["sub"] = sub
        self.say(message)
        self.welcome = self.until("welcome")
        return self.welcome

    def say(self, message):
        text = message if isinstance(message, (bytes, str)) else json.dumps(message)
        self.send(frame(TEXT, text.encode() if isinstance(text, str) else text))

    def frame(self):
        """@return opcode and payload of the next frame; the server's must be whole and unmasked."""
        b0, b1 = self.take(2)
        assert b0 & 0xF0 == 0x80, "fragmented or RSV bits from the server"
        assert b1 & 0x80 == 0, "the server must not mask"
        n = b1 & 0x7F
        if n == 126:
            (n,) = struct.unpack(">H", self.take(2))
        elif n == 127:
            (n,) = struct.unpack(">Q", self.take(8))
        return b0 & 0xF, self.take(n)

    def read(self):
        """@return the next message, parsed. Raises Closed when there will be none."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if payload else 1005
                raise Closed(code, payload[2:].decode())
            if opcode == TEXT:
                return json.loads(payload)

    def until(self, t):
        while True:
            message = self.read()
            if message["t"] == t:
                return message

    def close_code(self):
        """@return the code that the server closes with."""
        try:
            while True:
                self.read()
        except Closed as e:
            return e.code
        except ConnectionResetError:
            return None


def get(port, path, method="GET", body=None, **headers):
    """@return status, headers, body of one request on a connection of its own."""
    c = Raw(port)
    head = {"Host": f"127.0.0.1:{port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if body is not None:
        head["Content-Length"] = str(len(body))
    lines = [f"{k}: {v}" for k, v in head.items() if v is not None]
    c.send((f"{method} {path} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))
    try:
        return c.response()
    finally:
        c.close()


def wait_until(condition, seconds=10.0):
    """Polls what another process does; fails after @seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)

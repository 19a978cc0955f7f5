"""A proxy that knows ClickHouse's native protocol well enough to hurt it at a chosen moment.

It stands between souk and ClickHouse on loopback, follows each connection packet by packet, and holds
every INSERT whole before it forwards it: so it can cut in the middle of a block, or after the server's
EndOfStream and before the client hears of it. What it has seen is kept as a ledger of attempts: table,
deduplication token, rows, and how each ended on the server and for the client.

The happy path: hello, then queries; of an INSERT the statement goes on at once (a client that does not
know the table's columns yet waits for them), the data when it is complete. Both hellos are rewritten to
REVISION_MAX, the newest revision that is followed here. What is not understood is passed on unread and
counted in @unread. LZ4, ZSTD and none are followed; rows are counted for LZ4 and none.

The proxy runs in a thread of its own; its methods may be called from any other.

    with Proxy(port, target) as proxy:
        proxy.fault("lose_reply", times=3)      # the next three inserts are stored, and their replies lost
        proxy.refuse() ... proxy.accept()       # ClickHouse is away
"""

import asyncio
import collections
import dataclasses
import random
import re
import socket
import struct
import threading
import time

REVISION_MAX = 54460
METHODS = (0x02, 0x82, 0x90)  # none, LZ4, ZSTD
EMPTY = bytes.fromhex("01 00 02 ff ff ff ff 00 00 00")
TERMINATOR = b"\x02\x00" + EMPTY
BLOCK_BYTES_MAX = 256 << 20
WIDTHS = {"UInt8": 1, "Int8": 1, "UInt16": 2, "UInt32": 4, "Int32": 4, "UInt64": 8, "Int64": 8, "DateTime": 4}

KINDS = {
    "cut_before_data": "the connection is reset once the statement is through, before its data",
    "cut_in_block": "the first half of the data goes through, then both sides are reset",
    "lose_reply": "the server's EndOfStream is seen and kept, and the client reset",
    "late_delivery": "the client is reset, and the data reaches the server `seconds` later",
    "hold_reply": "the EndOfStream comes `seconds` late",
    "stall": "the data comes `seconds` late",
    "exception": "the client gets an exception of `code`; the server never sees the insert",
    "partial_error": "half of the data goes through, and the client gets an exception of `code`",
}


class Unread(Exception):
    """A packet that this proxy does not follow."""


class Wire:
    """Reads a stream in the protocol's types and remembers the bytes, to be forwarded as they came."""

    def __init__(self, reader):
        self.reader, self.held, self.taken = reader, bytearray(), bytearray()

    async def fill(self, n=1):
        while len(self.held) < n:
            chunk = await self.reader.read(1 << 18)
            if not chunk:
                raise asyncio.IncompleteReadError(bytes(self.held), n)
            self.held += chunk

    async def peek(self, n):
        await self.fill(n)
        return bytes(self.held[:n])

    async def exact(self, n):
        if n > BLOCK_BYTES_MAX:
            raise Unread(f"{n} bytes")
        await self.fill(n)
        out = bytes(self.held[:n])
        del self.held[:n]
        self.taken += out
        return out

    async def u8(self):
        return (await self.exact(1))[0]

    async def varint(self):
        value = shift = 0
        while True:
            byte = await self.u8()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise Unread("a number without end")

    async def string(self):
        return await self.exact(await self.varint())

    def take(self):
        """What was read since the last call."""
        out = bytes(self.taken)
        self.taken.clear()
        return out

    def rest(self):
        """What was read, and what lies behind it."""
        out = self.take() + bytes(self.held)
        self.held.clear()
        return out


def put_varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def put_string(text):
    raw = text.encode() if isinstance(text, str) else text
    return put_varint(len(raw)) + raw


def exception_packet(code, message, name="DB::Exception"):
    return b"\x02" + struct.pack("<i", code) + put_string(name) + put_string(message) + put_string("") + b"\x00"


def lz4_head(packed, n):
    """The first @n bytes of an LZ4 block: enough for a block's row count."""
    out, at = bytearray(), 0

    def length(value, at):
        if value == 15:
            while True:
                value += packed[at]
                at += 1
                if packed[at - 1] != 255:
                    break
        return value, at

    while len(out) < n and at < len(packed):
        token = packed[at]
        literals, at = length(token >> 4, at + 1)
        out += packed[at:at + literals]
        at += literals
        if at + 2 > len(packed):
            break
        back = packed[at] | packed[at + 1] << 8
        match, at = length(token & 15, at + 2)
        if not 0 < back <= len(out):
            return None
        for _ in range(match + 4):
            out.append(out[-back])
    return bytes(out[:n])


def varint_at(raw, at):
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at


def rows_of(head):
    """The row count of a block that begins with @head, or None."""
    try:
        if head is None or head[:8] != EMPTY[:8]:
            return None
        _, at = varint_at(head, 8)
        return varint_at(head, at)[0]
    except IndexError:
        return None


@dataclasses.dataclass
class Fault:
    kind: str
    times: int | None = 1  # None: until cleared.
    table: str = ""  # A regular expression; all tables when empty.
    share: float = 1.0  # Of the inserts that it would meet.
    spare_retries: bool = False  # What comes again under a token that was hurt goes through.
    seconds: float = 0.0
    code: int = 0
    message: str = "injected by the test's proxy"
    met: int = 0


@dataclasses.dataclass
class Attempt:
    """One INSERT as it was seen."""

    table: str
    token: str
    at: float
    rows: int | None = None
    n_bytes: int = 0
    fault: str = ""
    server: str = ""  # "", "committed", or "exception CODE".
    client: str = ""  # "", "told", "left" (it went away by itself), "cut" or "exception CODE".
    done_at: float = 0.0


class Connection:
    def __init__(self, proxy, reader, writer):
        self.proxy, self.client_writer = proxy, writer
        self.client = Wire(reader)
        self.server = self.server_writer = None
        self.revision = None
        self.hello = asyncio.Event()
        self.insert = None  # The Attempt under way.
        self.fault = None
        self.compressed = False
        self.raw = False
        self.client_gone = False

    # Sending.

    async def send(self, writer, data):
        for start in range(0, len(data), 1 << 16) if self.proxy.bytes_per_s else (0,):
            piece = data[start:start + (1 << 16)] if self.proxy.bytes_per_s else data
            if self.proxy.delay_s:
                await asyncio.sleep(self.proxy.delay_s)
            writer.write(piece)
            await writer.drain()
            if self.proxy.bytes_per_s:
                await asyncio.sleep(len(piece) / self.proxy.bytes_per_s)

    async def to_client(self, data):
        if not self.client_gone:
            await self.send(self.client_writer, data)

    async def to_server(self, data):
        await self.send(self.server_writer, data)

    @staticmethod
    def reset(writer):
        """A RST, which no half of a packet and no goodbye comes before."""
        if writer is None:
            return
        s = writer.get_extra_info("socket")
        if s is not None:
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
        writer.transport.abort()

    def reset_client(self):
        self.client_gone = True
        self.reset(self.client_writer)

    # From the client.

    async def run(self):
        down = None
        try:
            reader, self.server_writer = await asyncio.open_connection(*self.proxy.target)
            self.server = Wire(reader)
            down = asyncio.ensure_future(self.from_server())
            await self.from_client()
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Unread as why:
            await self.pass_on(why)
        finally:
            if self.insert is not None and self.client_gone:
                await self.wait_for_late()
            elif self.insert is not None:
                self.finish(self.insert, "left")
            if down is not None:
                down.cancel()
            for writer in (self.client_writer, self.server_writer):
                if writer is not None:
                    writer.close()

    async def wait_for_late(self):
        """The client is gone by our doing: what the server says of its insert is still wanted."""
        until = time.monotonic() + 30
        while self.insert is not None and time.monotonic() < until and not self.server_writer.is_closing():
            await asyncio.sleep(0.01)

    async def pass_on(self, why):
        """Bytes, from here on, both ways."""
        self.raw = True
        self.proxy.unread.append(str(why))
        try:
            await self.to_server(self.client.rest())
            while True:
                await self.client.fill()
                await self.to_server(self.client.rest())
        except (OSError, asyncio.IncompleteReadError):
            pass

    async def from_client(self):
        wire = self.client
        while True:
            kind = await wire.varint()
            if kind == 0 and self.revision is None:
                await self.client_hello()
            elif kind == 1:
                await self.query()
            elif kind in (3, 4):
                await self.to_server(wire.take())
            else:
                raise Unread(f"client packet {kind}")

    async def client_hello(self):
        wire = self.client
        name, major, minor = await wire.string(), await wire.varint(), await wire.varint()
        revision = await wire.varint()
        rest = [await wire.string() for _ in range(3)]
        wire.take()
        self.revision = min(revision, REVISION_MAX)
        await self.to_server(b"\x00" + put_string(name) + put_varint(major) + put_varint(minor)
                             + put_varint(self.revision) + b"".join(map(put_string, rest)))
        await self.hello.wait()
        if self.revision >= 54458:
            await wire.string()
            await self.to_server(wire.take())

    async def client_info(self):
        wire, revision = self.client, self.revision
        if await wire.u8() == 0:
            return
        for _ in range(3):
            await wire.string()
        if revision >= 54449:
            await wire.exact(8)
        if await wire.u8() != 1:
            raise Unread("a query that did not come over TCP")
        for _ in range(3):
            await wire.string()
        for _ in range(3):
            await wire.varint()
        if revision >= 54060:
            await wire.string()
        if revision >= 54448:
            await wire.varint()
        if revision >= 54401:
            await wire.varint()
        if revision >= 54442 and await wire.u8():
            await wire.exact(24)
            await wire.string()
            await wire.u8()
        if revision >= 54453:
            for _ in range(3):
                await wire.varint()

    async def query(self):
        wire, revision = self.client, self.revision
        settings = {}
        await wire.string()
        await self.client_info()
        while name := await wire.string():
            if revision < 54429:
                raise Unread("settings in the binary form")
            await wire.varint()
            settings[name.decode()] = (await wire.string()).decode(errors="replace")
        if revision >= 54441:
            await wire.string()
        await wire.varint()
        self.compressed = bool(await wire.varint())
        sql = (await wire.string()).decode(errors="replace")
        if revision >= 54459:
            while await wire.string():
                await wire.varint()
                await wire.string()
        self.proxy.queries += 1
        found = re.match(r"\s*INSERT\s+INTO\s+([\w.`]+)", sql, re.I)
        if found is None:
            self.insert = None
            await self.to_server(wire.take())
            await self.blocks()  # Of external tables: there are none.
            await self.to_server(wire.take())
            return
        table = found.group(1).replace("`", "").split(".")[-1]
        attempt = Attempt(table, settings.get("insert_deduplication_token", ""), time.monotonic())
        self.fault = self.proxy.pick(table, attempt.token)
        attempt.fault = self.fault.kind if self.fault else ""
        self.insert = attempt
        self.proxy.attempts.append(attempt)
        await self.blocks()
        statement = wire.take()
        if self.fault and self.fault.kind == "exception":
            await self.refuse_insert(attempt)
            return
        await self.to_server(statement)
        if self.fault and self.fault.kind == "cut_before_data":
            self.cut(attempt)
            raise asyncio.IncompleteReadError(b"", 1)  # What the client has sent behind it is not looked at.
        attempt.rows = await self.blocks()
        data = wire.take()
        attempt.n_bytes = len(data)
        await self.deliver(attempt, data)

    async def blocks(self):
        """Reads data packets to the empty one. @return the rows in them, None when they cannot be known."""
        wire, rows = self.client, 0
        while True:
            if await wire.varint() != 2:
                raise Unread("no data packet behind a query")
            await wire.string()
            empty, n = await (self.frames() if self.compressed else self.plain())
            if empty:
                return rows
            rows = None if n is None or rows is None else rows + n

    async def frames(self):
        """One block in compressed frames: what follows them is another packet, or another frame."""
        wire, first = self.client, True
        while True:
            head = await wire.exact(25)
            method, size, plain = head[16], *struct.unpack("<II", head[17:25])
            if method not in METHODS or size < 9:
                raise Unread(f"compression method {method}")
            packed = await wire.exact(size - 9)
            if first:
                if plain <= len(EMPTY):
                    return True, 0
                start = packed[:64] if method == 0x02 else lz4_head(packed, 64) if method == 0x82 else None
                rows, first = rows_of(start), False
            ahead = await wire.peek(27)  # The terminator is 37 bytes at least.
            if ahead[:2] == b"\x02\x00" and ahead[18] in METHODS and ahead[23:27] == bytes([len(EMPTY), 0, 0, 0]):
                return False, rows

    async def plain(self):
        """One block as it is. Its end is where the terminator begins: nothing else tells without reading all types."""
        wire = self.client
        head = await wire.peek(len(EMPTY))
        if head == EMPTY:
            await wire.exact(len(EMPTY))
            return True, 0
        start = 0
        while (at := wire.held.find(TERMINATOR, start)) < 0:
            start = max(0, len(wire.held) - len(TERMINATOR))
            await wire.fill(len(wire.held) + 1)
        rows = rows_of(bytes(wire.held[:64]))
        await wire.exact(at)
        return False, rows

    def cut(self, attempt):
        attempt.client, attempt.done_at = "cut", time.monotonic()
        self.insert = None
        self.reset_client()
        self.reset(self.server_writer)

    async def refuse_insert(self, attempt):
        attempt.client = f"exception {self.fault.code}"
        attempt.done_at = time.monotonic()
        self.insert = None
        self.reset(self.server_writer)
        await self.to_client(exception_packet(self.fault.code, self.fault.message))
        try:  # Closing with data unread would reset the connection, and the exception with it.
            async with asyncio.timeout(0.5):
                while True:
                    await self.client.fill()
                    self.client.rest()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        raise asyncio.IncompleteReadError(b"", 1)  # The end of this connection.

    async def deliver(self, attempt, data):
        kind = self.fault.kind if self.fault else ""
        if kind == "cut_in_block":
            await self.to_server(data[:len(data) // 2])
            self.cut(attempt)
        elif kind == "partial_error":
            await self.to_server(data[:len(data) // 2])
            self.reset(self.server_writer)
            await self.refuse_insert(attempt)
        elif kind == "late_delivery":
            attempt.client = "cut"
            self.reset_client()
            await asyncio.sleep(self.fault.seconds)
            await self.to_server(data)
        else:
            if kind == "stall":
                await asyncio.sleep(self.fault.seconds)
            await self.to_server(data)

    # From the server.

    async def from_server(self):
        wire = self.server
        try:
            if await wire.varint() == 0:
                await self.server_hello()
            else:
                self.raw = True
                await self.to_client(wire.rest())
            while True:
                await wire.fill()
                if self.insert is None or self.raw:
                    await self.to_client(wire.rest())
                else:
                    await self.insert_packet(self.insert)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Unread as why:
            self.proxy.unread.append(str(why))
            self.raw = True
            await self.to_client(wire.rest())
        except asyncio.CancelledError:
            raise
        if not self.client_gone and not (self.fault and self.fault.code):
            self.client_writer.close()
        if self.server_writer is not None:
            self.server_writer.close()

    async def server_hello(self):
        wire = self.server
        name, major, minor, revision = (await wire.string(), await wire.varint(), await wire.varint(),
                                        await wire.varint())
        wire.take()
        self.revision = min(self.revision, revision)
        await self.to_client(b"\x00" + put_string(name) + put_varint(major) + put_varint(minor)
                             + put_varint(min(revision, REVISION_MAX)) + wire.rest())
        self.hello.set()

    async def insert_packet(self, attempt):
        wire = self.server
        kind = await wire.varint()
        if kind == 1:
            await wire.string()
            if self.compressed:
                head = await wire.exact(25)
                await wire.exact(struct.unpack("<I", head[17:21])[0] - 9)
            else:
                await self.server_block()
        elif kind == 2:
            code = struct.unpack("<i", await wire.exact(4))[0]
            texts = [await wire.string() for _ in range(3)]
            if await wire.u8():
                raise Unread("an exception in an exception")
            attempt.server = f"exception {code}"
            self.proxy.exceptions.append((code, texts[1].decode(errors="replace")))
            self.finish(attempt, f"exception {code}")
        elif kind == 3:
            for _ in range(3 + 2 * (self.revision >= 54420) + (self.revision >= 54460)):
                await wire.varint()
        elif kind == 5:
            attempt.server = "committed"
            if self.fault and self.fault.kind == "hold_reply":
                await asyncio.sleep(self.fault.seconds)
            if self.fault and self.fault.kind == "lose_reply":
                wire.take()
                self.cut(attempt)
                return
            self.finish(attempt, "told")
        elif kind == 6:
            for _ in range(3):
                await wire.varint()
            await wire.u8()
            await wire.varint()
            await wire.u8()
        elif kind in (10, 14):
            await wire.string()
            await self.server_block()
        elif kind == 11:
            await wire.string()
            await wire.string()
        elif kind != 4:
            raise Unread(f"server packet {kind}")
        await self.to_client(wire.take())

    def finish(self, attempt, told):
        attempt.client = attempt.client or told
        attempt.done_at = time.monotonic()
        self.insert = None

    async def server_block(self):
        wire = self.server
        await wire.exact(8)
        n_columns, n_rows = await wire.varint(), await wire.varint()
        for _ in range(n_columns):
            await wire.string()
            kind = (await wire.string()).decode(errors="replace")
            if self.revision >= 54454 and await wire.u8():
                raise Unread("a column of custom serialization")
            if n_rows == 0:
                continue
            base = re.match(r"\w+", kind).group()
            if base == "Enum8":
                base = "Int8"
            if base == "String":
                for _ in range(n_rows):
                    await wire.string()
            elif base in WIDTHS:
                await wire.exact(WIDTHS[base] * n_rows)
            else:
                raise Unread(f"a column of type {kind}")


class Proxy:
    def __init__(self, port, target, host="127.0.0.1", seed=1):
        self.port, self.host, self.target = port, host, ("127.0.0.1", target) if isinstance(target, int) else target
        self.delay_s = 0.0  # Before each write, either way.
        self.bytes_per_s = 0  # 0: as fast as it goes.
        self.n_connections = self.n_refused = self.queries = 0
        self.attempts = []  # A list: it is copied at once while the proxy's thread appends.
        self.exceptions = collections.deque(maxlen=1000)  # (code, message) of the server, of inserts.
        self.unread = collections.deque(maxlen=1000)
        self.faults, self.open = [], set()
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.loop = asyncio.new_event_loop()
        self.listener = None
        self.thread = threading.Thread(target=self.loop.run_forever, name="chproxy", daemon=True)

    def __enter__(self):
        self.thread.start()
        self.accept()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.loop.is_closed():
            return
        self.refuse()
        self.call(self.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def end(self):
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    # What it does to all connections.

    def accept(self):
        """Listens; does nothing when it does already."""
        async def listen():
            if self.listener is None:
                self.listener = await asyncio.start_server(self.on_client, self.host, self.port, limit=1 << 22)
        self.call(listen())

    def refuse(self, drop=True):
        """Nobody answers on the port; with @drop all connections are reset as well."""
        async def stop():
            if self.listener is not None:
                self.listener.close()
                self.listener = None
            if drop:
                self.drop_all()
        self.call(stop())

    def drop(self):
        """Resets all connections; new ones are taken."""
        async def run():
            self.drop_all()
        self.call(run())

    def drop_all(self):
        for c in list(self.open):
            c.reset_client()
            c.reset(c.server_writer)

    async def on_client(self, reader, writer):
        self.n_connections += 1
        connection = Connection(self, reader, writer)
        self.open.add(connection)
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass
        finally:
            self.open.discard(connection)

    # What it does to inserts.

    def fault(self, kind, **options):
        """The next inserts meet @kind of KINDS. Faults are met in the order in which they were given."""
        if kind not in KINDS:
            raise ValueError(f"no fault {kind}; there are: {', '.join(KINDS)}")
        made = Fault(kind, **options)
        with self.lock:
            self.faults.append(made)
        return made

    def clear(self):
        with self.lock:
            self.faults.clear()

    def pick(self, table, token=""):
        with self.lock:
            for fault in self.faults:
                if fault.table and not re.search(fault.table, table):
                    continue
                if fault.spare_retries and any(a.fault and a.token == token for a in self.attempts):
                    continue
                if fault.share < 1 and self.random.random() >= fault.share:
                    continue
                fault.met += 1
                if fault.times is not None and fault.met >= fault.times:
                    self.faults.remove(fault)
                return fault
        return None

    # What it saw.

    def seen(self, table=None, fault=None):
        """The attempts so far, of a table or of a kind of fault ("" for none)."""
        return [a for a in self.attempts[:] if table in (None, a.table) and fault in (None, a.fault)]

    def again(self):
        """How many attempts came with a token that had been seen before."""
        tokens = [a.token for a in self.seen() if a.token]
        return len(tokens) - len(set(tokens))

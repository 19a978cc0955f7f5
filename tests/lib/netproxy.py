"""A TCP proxy that is a bad network: bytes come late, slowly, after losses, not at all, or the connection is reset.

It knows no protocol, and stands wherever souk speaks to somebody. Order is kept, as TCP keeps it: what loss does to a
connection is time, so a lost piece waits for its retransmission, twice as long each time again.

    with NetProxy(port, target) as net:
        net.hurt(loss=0.3)                     # or delay_s=0.5, jitter_s=0.2; bytes_per_s=1000; resets_per_s=0.5
        net.hurt(partition=True)               # nothing passes, and nobody is told
        net.heal()
"""

import asyncio
import contextlib
import dataclasses
import random
import threading

PIECE = 1448  # Bytes of a segment on Ethernet.
RTO_S, RTO_MAX_S = 0.2, 60


@dataclasses.dataclass
class Faults:
    loss: float = 0.0  # Of each piece.
    delay_s: float = 0.0
    jitter_s: float = 0.0  # Either way.
    bytes_per_s: float = 0.0  # 0: as fast as it goes.
    resets_per_s: float = 0.0
    partition: bool = False


class NetProxy:
    """Runs in a thread of its own; its methods may be called from any other."""

    def __init__(self, port, target, seed=1):
        self.port, self.target = port, target
        self.faults = Faults()
        self.n_lost = self.n_reset = self.n_delayed = self.n_held = 0
        self.random = random.Random(seed)
        self.open = set()
        self.loop = asyncio.new_event_loop()
        self.changed = None
        self.thread = threading.Thread(target=self.loop.run_forever, name="netproxy", daemon=True)

    def __enter__(self):
        self.thread.start()
        self.call(self.listen())
        return self

    def __exit__(self, *_):
        self.call(self.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    async def listen(self):
        self.changed = asyncio.Event()
        self.listener = await asyncio.start_server(self.on_client, "127.0.0.1", self.port)
        self.resetter = asyncio.create_task(self.reset_now_and_then())

    async def end(self):
        self.listener.close()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hurt(self, **faults):
        async def run():
            self.faults = Faults(**faults)
            self.changed.set()  # Who waits looks again.
            self.changed = asyncio.Event()
        self.call(run())

    def heal(self):
        self.hurt()

    async def wait(self, seconds):
        """Until then, or until the network is another one."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)

    async def reset_now_and_then(self):
        while True:
            await asyncio.sleep(0.1)
            for writers in list(self.open):
                if self.random.random() < self.faults.resets_per_s * 0.1:
                    self.n_reset += 1
                    for writer in writers:
                        writer.transport.abort()

    async def on_client(self, reader, writer):
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, there)
        self.open.add(pair)
        try:
            await asyncio.gather(self.pump(reader, there), self.pump(there_reader, writer))
        except OSError:
            pass
        finally:
            self.open.discard(pair)
            for end in pair:
                end.transport.abort()

    async def pump(self, reader, writer):
        while data := await reader.read(1 << 16):
            at = 0
            while at < len(data):
                f = self.faults
                if f.partition:
                    self.n_held += 1
                    await self.wait(None)
                    if reader.at_eof() or reader.exception():
                        return  # Who sent it has given up meanwhile, and TCP_USER_TIMEOUT its bytes.
                    continue
                # Without loss and pace there is no need to cut.
                piece = data[at:at + PIECE] if f.loss or f.bytes_per_s else data[at:]
                at += len(piece)
                await self.suffer(f, len(piece))
                writer.write(piece)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def suffer(self, f, n_bytes):
        rto_s = RTO_S
        while f.loss and f is self.faults and self.random.random() < f.loss:
            self.n_lost += 1
            await self.wait(rto_s)
            rto_s = min(2 * rto_s, RTO_MAX_S)
        if f.delay_s and f is self.faults:
            self.n_delayed += 1
            await self.wait(max(0.0, f.delay_s + self.random.uniform(-f.jitter_s, f.jitter_s)))
        if f.bytes_per_s and f is self.faults:
            await self.wait(n_bytes / f.bytes_per_s)

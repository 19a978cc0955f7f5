"""Ports of 127.0.0.1 that nobody listens on, for what a test starts a little later.

They are of SOUK_TEST_PORTS (FIRST-LAST) when that is set, which tests/lib/beside.py divides among the modules that
run side by side. No port is given out twice: who was given one may not listen yet.
"""

import contextlib
import os
import random
import socket

WITHOUT_RANGE = "18700-29999"  # Below those that the kernel gives to clients.
given = set()


def free_ports(n, neighbours=False):
    """@return @n ports, which follow each other when they are to be @neighbours."""
    wanted = os.environ.get("SOUK_TEST_PORTS") or WITHOUT_RANGE
    first, last = map(int, wanted.split("-"))
    if neighbours:
        starts = range(first, last - n + 2, n)
        groups = [range(start, start + n) for start in random.sample(starts, len(starts))]
    else:
        groups = [[port] for port in random.sample(range(first, last + 1), last - first + 1)]
    found = []
    with contextlib.ExitStack() as held:
        for group in groups:
            if not given.isdisjoint(group):
                continue
            try:
                for port in group:
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            found += group
            if len(found) == n:
                given.update(found)
                return found
    raise RuntimeError(f"no {n} free ports in {wanted}")

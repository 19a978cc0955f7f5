"""Cases of the scoreboard on the real process; bench.py is the stack, tests/lib/chproxy.py what hurts it."""

import os
import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS / "lib"), str(TESTS / "reliability")]
os.environ["NO_PROXY"] = "127.0.0.1"

"""Cases of the scoreboard on the real process; bench.py is the stack, tests/lib/chproxy.py what hurts it."""

import os
import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS / "lib"), str(TESTS / "reliability")]
os.environ["NO_PROXY"] = "127.0.0.1"


def pytest_configure(config):
    config.addinivalue_line("markers", "case(*numbers): the cases of the scoreboard that a test shows")


def pytest_collection_modifyitems(config, items):
    """SOUK_CASES names the only cases to run; tests of the bench itself belong to none."""
    wanted = set(map(int, os.environ.get("SOUK_CASES", "").split()))
    if not wanted:
        return
    chosen = [i for i in items if any(wanted & set(m.args) for m in i.iter_markers("case"))]
    config.hook.pytest_deselected(items=[i for i in items if i not in chosen])
    items[:] = chosen

"""The stack as users start it: deploy/quickstart, with its state and ports of its own.

`stack` serves a whole module; a test that kills things makes its own with start_stack().
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

os.environ["NO_PROXY"] = "127.0.0.1"  # Whatever proxy the machine has, the stack is not behind it.
TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/lib"))

import sampler  # noqa: E402
from ports import free_ports  # noqa: E402

RESULTS = TOP / "build" / "test-results"
READY = "Ctrl-C stops"  # The last words of the quickstart's table.
START_S = 900  # A first run builds the release.
STOP_S = 60


def request(port, path, body=None, method=None):
    data = json.dumps(body).encode() if body is not None else None
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, method=method)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return answer.read().decode()


class Stack:
    """A running quickstart."""

    def __init__(self, process, base, state, log):
        self.process, self.base, self.state, self.log = process, base, state, log
        self.hub, self.native, self.http, self.sim = base, base + 1, base + 2, base + 3
        self.url = f"http://127.0.0.1:{base}/"
        self.sampler = sampler.Sampler(lambda path: request(self.hub, path), self.query)

    def status(self):
        return json.loads(request(self.hub, "/api/v1/status"))

    def alerts(self):
        return json.loads(request(self.hub, "/api/v1/alerts"))["alerts"]

    def query(self, sql):
        return request_text(self.http, sql, self.login())

    def password_file(self):
        return self.state / "clickhouse/password"

    def login(self):
        return {"X-ClickHouse-User": "souk", "X-ClickHouse-Key": self.password_file().read_text().strip()}

    def fault(self, **fault):
        """Asks the simulator to misbehave; nothing given ends all faults."""
        if fault:
            return request(self.sim, "/_sim/fault", fault)
        return request(self.sim, "/_sim/fault", method="DELETE")

    def stop(self):
        self.sampler.end()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def tail(self, n=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-n:])


def request_text(port, sql, headers):
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/", data=sql.encode(), headers=headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return answer.read().decode().strip()


def start_stack(state, *options):
    """Starts a quickstart on @state and waits until it shows its table."""
    base = free_ports(4, neighbours=True)[0]
    state.mkdir(parents=True, exist_ok=True)
    log = state / "quickstart.out"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [TOP / "deploy" / "quickstart", "--no-install", "--state", state, "--port-base", str(base), *options],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    stack = Stack(process, base, state, log)
    deadline = time.monotonic() + START_S
    while READY not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            stack.stop()
            pytest.fail(f"the stack did not start:\n{stack.tail()}", pytrace=False)
        time.sleep(0.1)
    stack.sampler.start()
    return stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    running = start_stack(tmp_path_factory.mktemp("stack"))
    yield running
    try:
        running.fault()
    finally:  # Also when the simulator is gone: quickstart, souk and ClickHouse are not.
        code = running.stop()
    assert code == 0, running.tail()


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("SOUK_CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, request):
    """A page that fails its test on any script error, console error or violation of the content policy."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    tab = context.new_page()
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    tab.on("console", lambda message: complaints.append(f"console: {message.text}") if message.type == "error" else None)
    yield tab
    RESULTS.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(Exception):
        tab.screenshot(path=RESULTS / f"{request.node.name}.png", full_page=True)
    context.close()
    # A content-policy violation is a console error too. Cutting the network is, and some tests do.
    allowed = getattr(tab, "allowed_complaints", ())
    unexpected = [complaint for complaint in complaints if not any(word in complaint for word in allowed)]
    assert not unexpected, unexpected

"""The alert stream as a client sees it, while the upstream stalls, refuses and comes back."""

import contextlib
import json
import os
import signal
import time
import uuid

import pytest
from stacks import ask, stack_of, until

websockets = pytest.importorskip("websockets.sync.client", reason="the Python package websockets is not installed")

THRESHOLDS = {"alerts": {"psapi": {"amber_s": 3, "red_s": 7}, "poe_ninja": {"amber_s": 600, "red_s": 900}}}


class Client:
    """A client of alerts.v1. @resume is (epoch, off) of an earlier one."""

    def __init__(self, stack, resume=None):
        self.socket = websockets.connect(f"ws://127.0.0.1:{stack.hub}/ws/alerts", subprotocols=["alerts.v1"], proxy=None)
        assert self.socket.subprotocol == "alerts.v1"
        hello = {"t": "hello", "id": 1, "client": {"name": "test", "ver": "1"}}
        if resume:
            hello["resume"] = {"epoch": resume[0], "off": resume[1]}
        self.say(hello)
        self.welcome = self.read()
        assert (self.welcome["t"], self.welcome["re"], self.welcome["proto"]) == ("welcome", 1, "alerts.v1")
        self.epoch, self.off = self.welcome["epoch"], resume[1] if resume else None
        self.events, self.snapshot, self.results = [], [], {}
        while (frame := self.take(10))["t"] != "live":
            assert frame["t"] in ("snap_begin", "snap", "snap_end", "ev", "hb"), frame
        self.off = frame["off"]

    def say(self, frame):
        self.socket.send(json.dumps(frame))

    def read(self, seconds=10):
        return json.loads(self.socket.recv(timeout=seconds))

    def take(self, seconds):
        """Reads one frame, and holds the order of the stream to its word."""
        frame = self.read(seconds)
        if frame["t"] == "snap":
            self.snapshot += frame["alerts"]
        if frame["t"] == "ev":
            assert frame["off"] > frame["prev"]
            assert self.off is None or frame["prev"] == self.off, f"a gap behind {self.off}: {frame}"
            self.off = frame["off"]
            self.events.append(frame)
        if frame["t"] == "hb" and self.off is not None:
            assert frame["sent"] <= frame["off"]
        if frame["t"] == "res":
            self.results[frame["re"]] = frame
        return frame

    def wait(self, what, seconds, fn):
        """Reads until fn(frame), also of frames that came before and were not waited for."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                frame = self.take(left)
                if fn(frame):
                    return frame
        pytest.fail(f"waited {seconds} s for: {what}; events: {[brief(e) for e in self.events]}", pytrace=False)

    def event(self, kind, alert_class, seconds=20):
        return self.wait(f"{alert_class} {kind}", seconds,
                         lambda f: f["t"] == "ev" and f["kind"] == kind and f["alert"]["class"] == alert_class)

    def command(self, number, op, args, key=None):
        self.say({"t": "cmd", "id": number, "key": key or uuid.uuid4().hex, "op": op, "args": args})
        return self.results.get(number) or self.wait(f"the result of {op}", 10, lambda f: f["t"] == "res" and f["re"] == number)

    def close(self):
        self.socket.close()


def brief(event):
    return event["off"], event["kind"], event["alert"]["class"], event["alert"]["sev"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stack_of(tmp_path_factory.mktemp("alerts"), THRESHOLDS) as running:
        yield running


@pytest.fixture
def quiet(stack):
    """The stack with everything green and nothing firing, whatever the test before left behind."""
    until("all is quiet", 30, lambda: stack.status()["summary"]["level"] == "green" and not stack.status()["alerts"]["firing"],
          lambda: json.dumps(stack.status()["summary"]) + stack.tail("souk"))
    return stack


@contextlib.contextmanager
def frozen(stack):
    """The simulator takes connections and answers nothing."""
    os.kill(stack.processes["sim"].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.processes["sim"].pid, signal.SIGCONT)


def test_drift_goes_amber_red_and_resolved(quiet):
    client = Client(quiet)
    with frozen(quiet):
        amber = client.event("created", "drift")["alert"]
        assert (amber["sev"], amber["status"]) == ("warning", "firing")
        assert amber["labels"] == {"source": "psapi", "stream": "pc"}
        assert [w["k"] for w in amber["why"]] == ["lag_s"]
        assert 3 < amber["why"][0]["val"] < 7
        assert quiet.psapi()["level"] == "amber"
        red = client.event("escalated", "drift")["alert"]
        assert (red["sev"], red["status"], red["id"]) == ("critical", "firing", amber["id"])
        assert red["ver"] > amber["ver"]
        assert quiet.status()["state"] == "degraded"
        [listed] = quiet.alerts("drift")
        assert (listed["id"], listed["sev"]) == (red["id"], "critical")
    end = client.event("resolved", "drift")["alert"]
    assert (end["id"], end["status"]) == (red["id"], "resolved")
    kinds = [e["kind"] for e in client.events if e["alert"]["class"] == "drift"]
    assert [k for k in kinds if k != "updated"] == ["created", "escalated", "resolved"]
    until("green again", 10, lambda: quiet.psapi()["level"] == "green")
    client.close()


def test_a_client_that_comes_back_gets_exactly_what_it_missed(quiet):
    stays, leaves = Client(quiet), Client(quiet)
    epoch, off = leaves.epoch, leaves.off
    leaves.close()
    with frozen(quiet):
        stays.event("escalated", "drift")
    stays.event("resolved", "drift")
    back = Client(quiet, (epoch, off))
    assert (back.welcome["mode"], back.welcome["recovered"], back.welcome["epoch"]) == ("replay", True, epoch)
    assert all(e["replay"] is True for e in back.events)
    missed = [{k: v for k, v in e.items() if k != "replay"} for e in back.events]
    seen = [e for e in stays.events if e["off"] > off]
    assert missed == seen
    assert [e["off"] for e in missed] == list(range(off + 1, off + 1 + len(missed)))
    assert len(missed) >= 3
    # Who is up to date gets nothing; who names another history gets all there is.
    nothing = Client(quiet, (epoch, back.off))
    assert (nothing.welcome["mode"], nothing.events, nothing.snapshot) == ("replay", [], [])
    stranger = Client(quiet, ("zzzzzzzz", off))
    assert (stranger.welcome["mode"], stranger.welcome["recovered"], stranger.events) == ("snapshot", False, [])
    for client in (stays, back, nothing, stranger):
        client.close()


def test_the_stream_survives_a_restart_of_souk(quiet):
    before = Client(quiet)
    epoch, off = before.epoch, before.off
    before.close()
    assert quiet.stop("souk") == 0
    quiet.start_souk()
    after = Client(quiet, (epoch, off))
    assert (after.epoch, after.welcome["recovered"]) == (epoch, True)
    with frozen(quiet):
        assert after.event("created", "drift")["off"] == off + 1
    after.event("resolved", "drift")
    after.close()


def test_an_alert_can_be_acknowledged(quiet):
    client, other = Client(quiet), Client(quiet)
    with frozen(quiet):
        alert = client.event("created", "drift")["alert"]
        key = uuid.uuid4().hex
        said = client.command(17, "ack", {"alert": alert["id"], "note": "on it"}, key)
        assert (said["ok"], said["alert"]["id"]) == (True, alert["id"])
        assert said["alert"]["ack"] is not None
        told = other.event("acked", "drift")
        assert (told["alert"]["id"], told["off"]) == (alert["id"], said["off"])
        assert told["alert"]["ack"]["note"] == "on it"
        # The same key again is the same intent: told so, and done once.
        again = client.command(18, "ack", {"alert": alert["id"], "note": "on it"}, key)
        assert (again["ok"], again["dup"], again["off"]) == (True, True, said["off"])
        other_intent = client.command(19, "ack", {"alert": alert["id"], "note": "another"}, key)
        assert (other_intent["ok"], other_intent["err"]["code"]) == (False, "key_reuse")
        unknown = client.command(20, "ack", {"alert": "al_0000000000000"})
        assert (unknown["ok"], unknown["err"]["code"]) == (False, "not_found")
        # Worse than what was acknowledged: it rings again.
        assert other.event("escalated", "drift")["alert"]["ack"] is None
    other.event("resolved", "drift")
    assert [e["kind"] for e in other.events].count("acked") == 1
    client.close()
    other.close()


def test_a_429_is_an_alert_of_its_own(quiet):
    client = Client(quiet)
    requests = quiet.count("bronze_requests", "status = 429")
    quiet.fault("status", count=1, value={"status": 429, "retry_after": "3"})
    alert = client.event("created", "throttled")["alert"]
    assert (alert["sev"], alert["labels"]) == ("warning", {"source": "psapi", "stream": "pc"})
    assert client.event("resolved", "throttled", 30)["alert"]["id"] == alert["id"]
    client.close()
    until("the 429 is stored", 10, lambda: quiet.count("bronze_requests", "status = 429") == requests + 1)
    assert quiet.query("SELECT retry_after_seconds FROM bronze_requests WHERE status = 429 ORDER BY ts DESC LIMIT 1") == "3"
    assert quiet.metric("souk_ratelimit_throttled_total") >= 1
    quiet.goes_on()


def test_nothing_was_lost_by_all_this(quiet):
    quiet.is_clean()
    assert ask(quiet.hub, "/-/ready") is not None

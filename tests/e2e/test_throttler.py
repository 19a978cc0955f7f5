"""Two souks at one address: one asks the other before each request, and goes on alone when it is away."""

import json
import signal
import time

import pytest
from stacks import ask, run_souk, stack_of, until


def throttle(stack):
    return json.loads(ask(stack.hub, "/api/v1/throttle"))


def psapi(stack):
    return next(e for e in throttle(stack)["endpoints"] if e["endpoint"].startswith("psapi"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The throttler, with the simulator, whose limit is far below what two souks want; and the one that asks it."""
    folder = tmp_path_factory.mktemp("throttler")
    only = {"sources": {"poe_ninja": {"enabled": False}, "psapi": {"period_s": 0.2}}}
    with stack_of(folder / "a", only, start=False) as a, stack_of(folder / "b", only, start=False) as b:
        a.start_sim("--psapi-limits", "6:4:30")
        url = f"http://127.0.0.1:{a.sim}"
        b.configure({"sources": {"psapi": {"base_url": url, "seed_url": url}}})
        b.souk_env = {"POE_THROTTLER_URL": f"http://127.0.0.1:{a.hub}"}
        a.start_souk(wait=False)  # ClickHouse is not needed to know what may be sent.
        until("the throttler governs", 20, lambda: psapi(a)["requests"] > 1, lambda: a.tail("souk"))
        b.start_souk(wait=False)
        until("the other asks", 20, lambda: throttle(b)["throttler"]["granted"] > 1,
              lambda: json.dumps(throttle(b)) + b.tail("souk"))
        yield a, b


def test_the_sum_stays_within_the_limit(pair):
    a, b = pair
    before, started = a.simulator(), time.monotonic()
    was = psapi(a)["requests"], psapi(b)["requests"]
    time.sleep(12)  # Two windows and more: the sum is over time.
    took = time.monotonic() - started
    sent = psapi(a)["requests"] - was[0]  # Those of both.
    assert a.simulator()["violations"] == before["violations"] == 0
    assert psapi(b)["requests"] > was[1], throttle(b)
    assert sent >= took / 5 * 6 * 0.5, throttle(a)  # 6 in 4 + 1 s; both wait for each other now and then.
    assert throttle(b)["throttler"]["state"] == "up"
    assert throttle(a)["throttler"] is None
    assert psapi(a)["throttled"] == psapi(b)["throttled"] == 0
    assert b.metric("souk_throttler_away") == 0 and b.metric("souk_throttler_reports_lost_total") == 0


def test_without_it_half_of_the_own_limits(pair):
    a, b = pair
    a.stop("souk", sig=signal.SIGKILL)
    until("it is missed", 20, lambda: throttle(b)["throttler"]["state"] == "away", lambda: b.tail("souk"))
    shown = run_souk("limit", "show", config=b.config_file)
    assert "throttler" in shown.stdout and "own limits halved" in shown.stdout, shown.stdout + shown.stderr
    assert b.metric("souk_throttler_away") == 1
    before, started = psapi(b)["requests"], time.monotonic()
    until("requests go on", 30, lambda: psapi(b)["requests"] >= before + 4, lambda: json.dumps(throttle(b)))
    rate = (psapi(b)["requests"] - before) / (time.monotonic() - started)
    assert rate <= 6 / 5 / 2 * 1.4, throttle(b)  # The first may have been due at once.
    assert a.simulator()["violations"] == 0
    a.start_souk(wait=False)
    until("it is asked again", 30, lambda: throttle(b)["throttler"]["state"] == "up", lambda: b.tail("souk"))
    more = throttle(b)["throttler"]["granted"]
    until("and grants", 30, lambda: throttle(b)["throttler"]["granted"] > more + 1, lambda: json.dumps(throttle(b)))
    assert a.simulator()["violations"] == 0


def test_a_refused_key_is_said(tmp_path, pair):
    """A hub with tokens wants one of them; without it the client says so and goes on with care."""
    a, _ = pair
    tokens = tmp_path / "tokens"
    tokens.write_text("other 0123456789abcdef0123\n")
    only = {"hub": {"tokens_file": str(tokens), "open_to_local": False}}
    with stack_of(tmp_path / "c", only, start=False) as c, stack_of(tmp_path / "d", start=False) as d:
        url = f"http://127.0.0.1:{a.sim}"
        for stack in (c, d):
            stack.configure({"sources": {"psapi": {"base_url": url, "seed_url": url, "enabled": stack is d},
                                         "poe_ninja": {"base_url": url, "enabled": stack is c}}})
        d.souk_env = {"POE_THROTTLER_URL": f"http://127.0.0.1:{c.hub}", "THROTTLER_API_KEY": "wrong"}
        c.start_souk(wait=False)
        until("it listens", 20, lambda: "name=hub" in c.log(), lambda: c.tail("souk"))
        d.start_souk(wait=False)
        until("it says so", 30, lambda: "401" in throttle(d)["throttler"]["reason"], lambda: json.dumps(throttle(d)) + d.tail("souk"))
        assert throttle(d)["throttler"]["state"] == "away"
        assert "refuses the token; THROTTLER_API_KEY" in throttle(d)["throttler"]["reason"]


def test_what_was_learned_is_a_table(pair):
    a, _ = pair
    live = run_souk("limit", "show", "--markdown", config=a.config_file)
    assert live.returncode == 0, live.stderr
    line = next(s for s in live.stdout.splitlines() if "public-stash-tabs-request-limit-pc" in s)
    assert "| Ip | 6 in 4 s (else 30 s closed) | 20" in line, live.stdout
    a.stop("souk")
    saved = run_souk("limit", "show", "--markdown", "--state", config=a.config_file)
    assert saved.returncode == 0, saved.stderr
    assert saved.stdout == live.stdout
    assert run_souk("limit", "pause", "--markdown", "psapi", config=a.config_file).returncode == 2

"""A vendor that refuses its own tokens for a while, as after a reboot of its servers: souk rests for minutes, takes a new
token, and goes on by itself; meanwhile it says so. About six minutes."""

import json
import time

from stacks import stack_of, until

REST_S = 300


def test_refused_tokens_rest_for_minutes_and_it_goes_on(tmp_path):
    with stack_of(tmp_path, start=False) as stack:
        stack.configure({"sources": {"oauth": {"base_url": f"http://127.0.0.1:{stack.sim}"}, "poe_ninja": {"enabled": False}}})
        stack.souk_env = {"POE_CLIENT_ID": "my-client", "POE_CLIENT_SECRET": "sim-secret"}
        stack.start_all("--require-token", "--scopes", "service:psapi")

        def tell():
            return json.dumps(stack.status()["sources"], indent=1) + json.dumps(stack.alerts(), indent=1) + stack.tail("souk")

        def firing():
            return [a for a in stack.alerts("disabled") if a["status"] == "firing" and "psapi" in json.dumps(a["labels"])]

        stack.goes_on()
        stack.fault("status", value=401, count=2)
        begun = time.monotonic()
        until("it is told", 30, firing, tell)
        asked, alert = stack.simulator()["requests"]["public-stash-tabs"], firing()[0]["id"]
        # Nothing is asked, and all say so.
        while time.monotonic() < begun + REST_S - 20:
            line = stack.psapi()
            assert stack.simulator()["requests"]["public-stash-tabs"] == asked
            assert line["level"] == "red" and line["state"] in ("off", "waiting"), line
            assert [a["id"] for a in firing()] == [alert]
            due = line["next_request_ms"]  # Not at all, or when it is allowed again.
            assert due == 0 or due > (time.time() + begun + REST_S - time.monotonic() - 15) * 1000, line
            time.sleep(5)
        until("it goes on", 90, lambda: stack.psapi()["level"] == "green" and not firing(), tell)
        assert time.monotonic() > begun + REST_S - 5
        stack.goes_on()
        stack.is_clean()

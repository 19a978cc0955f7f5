"""The governor for people and for other processes: souk limit, and permits over HTTP."""

import json
import signal
import time
import urllib.error
import urllib.request

import pytest
from stacks import OPENER, ask, run_souk, stack_of, until


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stack_of(tmp_path_factory.mktemp("throttle"), start=False) as made:
        made.start_sim()
        made.start_souk(wait=False)  # ClickHouse is not needed to know what may be sent.
        until("it governs", 20, lambda: endpoint(made, "psapi")["requests"] > 3, lambda: made.tail("souk"))
        yield made


def endpoints(stack):
    return json.loads(ask(stack.hub, "/api/v1/throttle"))["endpoints"]


def endpoint(stack, name):
    return next(e for e in endpoints(stack) if e["endpoint"].startswith(name))


def permit(stack, more=""):
    name = endpoint(stack, "psapi")["endpoint"]
    return json.loads(ask(stack.hub, f"/api/v1/throttle/permit?endpoint={name}{more}", method="POST"))


def report(stack, number, status=200, headers=None):
    request = urllib.request.Request(f"http://127.0.0.1:{stack.hub}/api/v1/throttle/report?permit={number}&status={status}",
                                     data=b"", headers=headers or {}, method="POST")
    with OPENER.open(request, timeout=15) as answer:
        return json.loads(answer.read())


def refused(stack, path, method="GET"):
    with pytest.raises(OSError) as failed:
        ask(stack.hub, path, body="" if method == "POST" else None, method=method)
    return str(failed.value)


def test_each_endpoint_says_whether_one_may_go(stack):
    for e in endpoints(stack):
        assert e["state"] in ("open", "paced", "penalty", "backoff", "probe", "recover", "disabled", "killed")
        assert e["reason"]
        assert e["wait_ms"] is None or e["wait_ms"] >= 0
    psapi = endpoint(stack, "psapi")
    assert psapi["windows"][0]["limit"] == 10
    assert psapi["classes"]["tail"]["granted"] > 3


def test_permits_are_tokens_of_the_same_windows(stack):
    given = []
    deadline = time.monotonic() + 20
    while len(given) < 6 and time.monotonic() < deadline:
        answer = permit(stack, "&class=backfill&wait_ms=5000")
        if answer["granted"]:
            given.append(answer["permit"])
            assert answer["report_within_ms"] > 0
            assert endpoint(stack, "psapi")["inflight"] >= 1
            assert report(stack, answer["permit"]) == {"ok": True}
        else:
            assert answer["reason"] and answer["next_ms"] >= time.time() * 1000 - 5000
            time.sleep(min(1, (answer["wait_ms"] or 100) / 1000))
    assert len(given) == len(set(given)) == 6
    assert endpoint(stack, "psapi")["classes"]["backfill"]["granted"] >= 6
    assert "no such permit" in refused(stack, f"/api/v1/throttle/report?permit={given[0]}&status=200", "POST")


def test_at_once_means_at_once(stack):
    for _ in range(10):
        answer = permit(stack)  # The stream queues all the time, and is not overtaken.
        if answer["granted"]:
            report(stack, answer["permit"])
        else:
            assert answer["reason"] and answer["next_ms"] >= time.time() * 1000 - 5000


def test_what_a_client_reports_is_learned_from(stack):
    answer = permit(stack, "&class=interactive&wait_ms=20000")
    assert answer["granted"]
    report(stack, answer["permit"], 429, {"Retry-After": "3"})
    psapi = endpoint(stack, "psapi")
    assert psapi["state"] == "penalty"
    assert psapi["wait_ms"] > 3000
    answer = permit(stack)
    assert not answer["granted"] and answer["wait_ms"] > 2000 and "closed" in answer["reason"]
    until("it is over", 30, lambda: endpoint(stack, "psapi")["state"] in ("open", "paced"))


@pytest.mark.parametrize("path, words", [
    ("/api/v1/throttle/permit", "endpoint is missing"),
    ("/api/v1/throttle/permit?endpoint=nobody", "no endpoint nobody"),
    ("/api/v1/throttle/permit?endpoint=PSAPI&class=first", "class is one of"),
    ("/api/v1/throttle/permit?endpoint=PSAPI&cost=0", "cost is a number"),
    ("/api/v1/throttle/permit?endpoint=PSAPI&wait_ms=99999", "wait_ms is a number"),
    ("/api/v1/throttle/permit?endpoint=PSAPI&cost=1e9", "cost is a number"),
    ("/api/v1/throttle/permit?endpoint=PSAPI&cost=100", "it is at most 10"),
    ("/api/v1/throttle/permit?endpoint=PSAPI&cost=11&wait_ms=1000", "it is at most 10"),
])
def test_a_wrong_call_says_what_is_expected(stack, path, words):
    assert words in refused(stack, path.replace("PSAPI", endpoint(stack, "psapi")["endpoint"]), "POST")


def test_permits_change_things_so_reading_does_not_give_them(stack):
    name, before = endpoint(stack, "psapi")["endpoint"], endpoint(stack, "psapi")
    message = refused(stack, f"/api/v1/throttle/permit?endpoint={name}&class=interactive")
    assert "405" in message and "POST" in message, message
    # As the <img> of another site's page: it brings no Origin.
    request = urllib.request.Request(f"http://127.0.0.1:{stack.hub}/api/v1/throttle/permit?endpoint={name}", data=b"",
                                     headers={"Sec-Fetch-Site": "cross-site"}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as failed:
        OPENER.open(request, timeout=15)
    assert failed.value.code == 403
    assert endpoint(stack, "psapi")["classes"]["interactive"] == before["classes"]["interactive"]


def test_a_wish_for_all_tokens_while_one_is_out_waits_and_no_more(stack):
    """It used to hang the process for good."""
    one = permit(stack, "&class=interactive&wait_ms=20000")
    assert one["granted"]
    answer = permit(stack, "&class=interactive&cost=10&wait_ms=1000")
    assert not answer["granted"] and answer["reason"]
    report(stack, one["permit"])
    stack.goes_on()


def test_people_can_pause_kill_and_resume(stack):
    name = endpoint(stack, "psapi")["endpoint"]
    shown = run_souk("limit", "show", config=stack.config_file)
    assert shown.returncode == 0 and name in shown.stdout and "of  10 used" in shown.stdout, shown.stdout + shown.stderr
    paused = run_souk("limit", "pause", name, "--for", "1h", "--reason", "a look at it", config=stack.config_file)
    assert paused.returncode == 0 and "paused: a look at it" in paused.stdout, paused.stdout + paused.stderr
    before = endpoint(stack, "psapi")["requests"]
    time.sleep(2.5)
    assert endpoint(stack, "psapi")["requests"] <= before + 1  # One may have been on its way.
    assert not permit(stack)["granted"]
    killed = run_souk("limit", "kill", name, "--reason", "the vendor asked", config=stack.config_file)
    assert killed.returncode == 0 and "killed" in killed.stdout
    # It survives a crash.
    stack.stop("souk", sig=signal.SIGKILL)
    stack.start_souk(wait=False)
    until("it answers", 20, lambda: endpoint(stack, "psapi"))
    assert endpoint(stack, "psapi")["state"] == "killed"
    resumed = run_souk("limit", "resume", name, config=stack.config_file)
    assert resumed.returncode == 0, resumed.stderr
    until("it goes on", 20, lambda: endpoint(stack, "psapi")["requests"] > 0)
    assert stack.simulator()["violations"] == 0


def test_verbs_say_what_is_wrong(stack):
    assert run_souk("limit", "pause", config=stack.config_file).returncode == 2
    assert run_souk("limit", "sing", "psapi", config=stack.config_file).returncode == 2
    assert run_souk("limit", "pause", "psapi", "--for", "soon", config=stack.config_file).returncode == 2
    unknown = run_souk("limit", "kill", "nobody", config=stack.config_file)
    assert unknown.returncode == 1 and "no endpoint nobody" in unknown.stderr
    as_json = json.loads(run_souk("--json", "limit", "show", config=stack.config_file).stdout)
    assert {e["endpoint"] for e in as_json["endpoints"]} == {e["endpoint"] for e in endpoints(stack)}


def test_a_block_page_that_a_client_was_shown_halts_the_host(stack):
    """It is about the address, which they share. The last one here: nothing is sent for an hour behind it."""
    answer = permit(stack, "&class=interactive&wait_ms=20000")
    assert answer["granted"], answer
    report(stack, answer["permit"], "403&block=1")
    psapi = endpoint(stack, "psapi")
    assert psapi["state"] == "disabled" and "block page" in psapi["reason"] and psapi["wait_ms"] > 3_000_000, psapi


def test_a_token_that_reads_neither_takes_nor_reports(stack, tmp_path):
    """Reporting is commanding: a false report of a block page halts an endpoint for good."""
    tokens = tmp_path / "tokens"
    tokens.write_text("reader 0123456789abcdef-read\nboss 0123456789abcdef-write write\n")
    stack.stop("souk")
    stack.configure({"hub": {"tokens_file": str(tokens), "open_to_local": False}})
    stack.start_souk(wait=False)

    def call(path, token, method="POST"):
        request = urllib.request.Request(f"http://127.0.0.1:{stack.hub}/api/v1/throttle{path}",
                                         data=b"" if method == "POST" else None, method=method,
                                         headers={"Authorization": f"Bearer 0123456789abcdef-{token}"} if token else {})
        try:
            with OPENER.open(request, timeout=15) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    status, body = until("it governs", 30, lambda: (got := call("", "read", "GET"))[0] == 200 and got)
    name = next(e["endpoint"] for e in body["endpoints"] if e["endpoint"].startswith("psapi"))
    assert call("", None, "GET")[0] == 401
    assert call(f"/resume?endpoint={name}", "write")[0] == 200  # Others may have left it halted.
    assert call(f"/permit?endpoint={name}", "read")[0] == 403
    number = until("a permit", 30, lambda: call(f"/permit?endpoint={name}&wait_ms=5000", "write")[1].get("permit"))
    assert call(f"/report?permit={number}&status=403&block=1", "read")[0] == 403
    assert call(f"/report?permit={number}&status=200", "write")[0] == 200  # It was still out.
    state = next(e["state"] for e in call("", "read", "GET")[1]["endpoints"] if e["endpoint"] == name)
    assert state not in ("disabled", "killed")

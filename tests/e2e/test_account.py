"""Tokens, scopes and the account's own stash, against a simulator that asks for tokens."""

import json
import re
import time

import pytest
from stacks import ask, run_souk, stack_of, until

SECRET = "sim-secret"


def config(sim, **account):
    url = f"http://127.0.0.1:{sim}"
    return {
        "sources": {
            "oauth": {"base_url": url},
            "account_stashes": {"enabled": True, "base_url": url, "leagues": ["Standard"], "period_s": 3600} | account,
        }
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stack_of(tmp_path_factory.mktemp("account"), start=False) as made:
        made.configure(config(made.sim))
        made.souk_env = {"POE_CLIENT_ID": "my-client", "POE_CLIENT_SECRET": SECRET}
        made.start_all("--require-token", "--scopes", "service:psapi,account:stashes")
        yield made


def stream(stack, source, key=None):
    return next(s for s in stack.status()["sources"] if s["name"] == source and key in (None, s["stream"]))


def tabs(stack):
    """How many tabs of the snapshot are there, and of how many."""
    cursor = stream(stack, "account_stashes")["cursor"].split("/")
    return cursor[0], int(cursor[1]), int(cursor[2])


def tell(stack):
    return lambda: json.dumps(stack.status()["sources"], indent=1) + "\n" + stack.tail("souk")


def test_each_scope_is_audited(stack):
    until("four scopes", 30, lambda: stack.count("ops_scope_audit") == 4, tell(stack))
    rows = stack.query("SELECT scope, available, http_status, detail, expires_in_s FROM ops_scope_audit ORDER BY scope")
    assert rows.splitlines() == [
        "account:stashes\t1\t200\tgranted\t2419200",
        "service:cxapi\t0\t400\tinvalid_scope\t0",
        "service:leagues\t0\t400\tinvalid_scope\t0",
        "service:psapi\t1\t200\tgranted\t2419200",
    ]
    assert stream(stack, "oauth", "service:cxapi")["note"] == "scope service:cxapi is not granted (invalid_scope)"
    metrics = ask(stack.hub, "/metrics")
    for scope, granted in (("service:psapi", 1), ("service:cxapi", 0)):
        assert f'souk_oauth_scope_granted{{scope="{scope}"}} {granted}\n' in metrics
    until("the river flows", 30, lambda: stack.psapi()["pages"]["new"] > 0, tell(stack))


def test_a_snapshot_brings_the_items_of_its_tabs(stack):
    until("five tabs", 60, lambda: tabs(stack)[1] >= 5, tell(stack))
    until("rows", 20, lambda: stack.count("bronze_account_stash_snapshot") > 0, tell(stack))
    snapshot, _, n = tabs(stack)
    assert f"snapshot {snapshot}: " in stream(stack, "account_stashes")["note"]
    assert n > 5
    found = json.loads(stack.query("SELECT uniqExact(snapshot_id) AS s, any(snapshot_id) AS id, any(realm) AS realm, "
                                   "any(league) AS league, uniqExact(account_hash) AS a, any(length(account_hash)) AS l, "
                                   "countIf(tab_id = '' OR type_line = '') AS bare FROM bronze_account_stash_snapshot "
                                   "FORMAT JSONEachRow"))
    assert {k: str(v) for k, v in found.items()} == {"s": "1", "id": snapshot, "realm": "pc", "league": "Standard",
                                                     "a": "1", "l": "32", "bare": "0"}
    assert stack.count("bronze_account_stash_snapshot", "account_hash LIKE '%client%'") == 0
    assert stack.count("bronze_quarantine", "source = 'account_stashes'") == 0
    assert {e["endpoint"] for e in json.loads(ask(stack.hub, "/api/v1/throttle"))["endpoints"]} >= {
        "oauth", "account_stashes", "account_stash_list"}


def test_what_the_simulator_served_is_there_once(stack):
    stack.is_clean()


def test_a_source_can_be_asked_by_hand(stack):
    answer = json.loads(ask(stack.hub, "/api/v1/sources/poll?source=account_stashes&stream=pc/Standard", method="POST", body=""))
    assert [s["stream"] for s in answer["streams"]] == ["pc/Standard"]
    before = stream(stack, "oauth", "service:cxapi")["pages"]["new"]
    answer = json.loads(ask(stack.hub, "/api/v1/sources/poll?source=oauth", method="POST", body=""))
    assert len(answer["streams"]) == 4 and all(s["asked"] for s in answer["streams"])
    until("the scope is asked for again", 30, lambda: stream(stack, "oauth", "service:cxapi")["pages"]["new"] > before, tell(stack))
    done = run_souk("poll", "oauth", "service:psapi", config=stack.config_file)
    assert (done.returncode, done.stdout.split()) == (0, ["service:psapi", "asked"]), done.stderr
    assert run_souk("poll", "nowhere", config=stack.config_file).returncode == 1
    assert run_souk("poll", config=stack.config_file).returncode == 2
    for path, why in (("source=account_stashes&stream=pc/Nowhere", "404"), ("source=nowhere", "404"), ("", "400"),
                      ("source=enrichment", "40")):
        with pytest.raises(OSError, match=why):
            ask(stack.hub, "/api/v1/sources/poll?" + path, method="POST", body="")


def test_a_token_that_is_refused_is_renewed_once(stack):
    before = stream(stack, "oauth", "service:psapi")["pages"]["new"]
    stack.fault("status", value=401, count=1)
    until("the refused token is noticed", 30, lambda: "token is refused" in stack.log(), tell(stack))
    until("another is there", 30, lambda: stream(stack, "oauth", "service:psapi")["pages"]["new"] > before, tell(stack))
    stack.goes_on()
    # The next one that is refused so soon is not renewed, and what needs it is quiet.
    again = stream(stack, "oauth", "service:psapi")["pages"]["new"]
    stack.fault("status", value=401, count=1)
    until("it is quiet", 30, lambda: stack.psapi()["state"] == "off", tell(stack))
    assert "the server answers 401 to it; another is asked for in " in stack.psapi()["last_error"]
    assert stream(stack, "oauth", "service:psapi")["pages"]["new"] == again
    # Which is no normal state: it brings nothing, so it is red and told, and says of no time that it asks then.
    until("it is red", 10, lambda: stack.psapi()["level"] == "red", tell(stack))
    told = [a for a in stack.alerts("disabled") if a["status"] == "firing"]
    assert told and "asks again by itself at" in told[0]["body"], told
    assert stack.psapi()["next_request_ms"] == 0
    time.sleep(6)
    assert [a["id"] for a in stack.alerts("disabled") if a["status"] == "firing"] == [a["id"] for a in told]


def test_secrets_are_nowhere(stack):
    """Not in the log, the spool, the status or the metrics, and not in what souk wal shows of the records."""
    stack.stop("souk")
    token = re.compile(rb"sim-[0-9a-f]{16}\.[0-9a-f]+\.")
    shown = run_souk("wal", "dump", "--payload", config=stack.config_file, seconds=60)
    places = {"log": stack.log().encode(), "wal": (shown.stdout + shown.stderr).encode()}
    for file in (stack.folder / "souk").rglob("*"):
        if file.is_file():
            places[str(file.name)] = file.read_bytes()
    assert len(places) > 2 and b"invalid_scope" in places["wal"]  # What was kept of the answers.
    for name, content in places.items():
        assert SECRET.encode() not in content, name
        assert not token.search(content), name
    stack.start_souk()
    for path in ("/api/v1/status", "/metrics", "/api/v1/throttle"):
        text = ask(stack.hub, path).encode()
        assert SECRET.encode() not in text and not token.search(text), path


def test_wrong_credentials_are_tried_once(stack):
    stack.stop("souk")
    stack.souk_env["POE_CLIENT_SECRET"] = "sim-secret-of-old"
    stack.start_souk()
    until("each scope was tried", 30, lambda: all(
        s["note"].startswith("client id and secret are refused") for s in stack.status()["sources"] if s["name"] == "oauth"),
        tell(stack))
    until("what needs a token is quiet", 30, lambda: stack.psapi()["state"] == "off", tell(stack))
    assert "client id and secret are refused" in stack.psapi()["last_error"]
    until("it is told", 10, lambda: stream(stack, "oauth", "service:psapi")["level"] == "red", tell(stack))
    until("so it is where it is missed", 10, lambda: stack.psapi()["level"] == "red", tell(stack))
    asked = stack.simulator()
    # Nor by the next process, with the same credentials.
    stack.stop("souk")
    stack.start_souk()
    until("what needs a token is quiet", 30, lambda: stack.psapi()["state"] == "off", tell(stack))
    counts = [s["pages"]["new"] for s in stack.status()["sources"] if s["name"] == "oauth"]
    assert counts == [0, 0, 0, 0]
    assert stack.simulator()["requests"].get("oauth") == asked["requests"].get("oauth")
    # Another secret is another matter.
    stack.stop("souk")
    stack.souk_env["POE_CLIENT_SECRET"] = SECRET
    stack.start_souk()
    until("a token is there", 30, lambda: stream(stack, "oauth", "service:psapi")["note"] == "scope service:psapi is granted",
          tell(stack))
    assert stack.simulator()["violations"] == 0


def test_without_a_secret_it_stays_quiet(stack):
    stack.stop("souk")
    stack.souk_env = {}
    stack.start_souk()
    off = stream(stack, "account_stashes")
    assert off["state"] == "off" and "POE_CLIENT_SECRET" in off["last_error"]
    assert not any(s["name"] == "oauth" for s in stack.status()["sources"])
    with pytest.raises(OSError, match="409.*POE_CLIENT_SECRET"):
        ask(stack.hub, "/api/v1/sources/poll?source=account_stashes", method="POST", body="")

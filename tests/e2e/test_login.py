"""A user's login in a real browser, against a simulator that asks for tokens: the way there, each renewal, its end."""

import json
import re
import stat
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from playwright.sync_api import expect
from stacks import OPENER, SOUK, ask, environment, run_souk, stack_of, until

CLIENT, USER = "my-client", "exile#1234"
SCOPES = "account:stashes,oauth:revoke"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stack_of(tmp_path_factory.mktemp("login"), start=False) as made:
        url = f"http://127.0.0.1:{made.sim}"
        made.configure({
            "agent": {"client_id": CLIENT},
            "sources": {
                "psapi": {"enabled": False}, "poe_ninja": {"enabled": False},
                "oauth": {"base_url": url, "scopes": SCOPES.split(",")},
                "account_stashes": {"enabled": True, "base_url": url, "leagues": ["Standard"], "period_s": 3600},
            },
        })
        made.start_all("--require-token", "--scopes", SCOPES, "--token-life", "36000")
        yield made


def file_of(stack):
    return stack.folder / "souk" / "login.json"


def refresh_token(stack):
    return json.loads(file_of(stack).read_text())["refresh_token"]


def stream(stack, source):
    return next(s for s in stack.status()["sources"] if s["name"] == source)


def tell(stack):
    return lambda: json.dumps(stack.status()["sources"], indent=1) + "\n" + stack.tail("souk")


def note(stack, text):
    until(text, 60, lambda: text in stream(stack, "oauth")["note"], tell(stack))


def poll(stack):
    """Renews the login now, and waits until that has been answered."""
    def n():
        return sum(stream(stack, "oauth")["pages"].values())

    before = n()
    ask(stack.hub, "/api/v1/sources/poll?source=oauth", method="POST", body="")
    until("the token endpoint has answered", 60, lambda: n() > before and stream(stack, "oauth")["state"] != "polling", tell(stack))


def post(stack, path, **form):
    """@return status and answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{stack.sim}{path}", data=urllib.parse.urlencode(form).encode())
    try:
        with OPENER.open(request, timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def renew(stack, token):
    return post(stack, "/oauth/token", client_id=CLIENT, grant_type="refresh_token", refresh_token=token)


class Login:
    """souk login account, up to the address that it prints."""

    def __init__(self, stack, *options):
        self.process = subprocess.Popen([str(c) for c in (SOUK, "--config", stack.config_file, "login", "account", "--no-browser", *options)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), stdin=subprocess.DEVNULL)
        lines = iter(self.process.stdout.readline, "")
        self.url = next((line.strip() for line in lines if line.startswith("http")), None)
        assert self.url, self.process.communicate(timeout=30)

    def end(self):
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def log_in(stack, page, *options):
    login = Login(stack, *options)
    page.goto(login.url)
    page.get_by_role("button", name="Allow").click()
    expect(page.locator("p")).to_have_text(f"Logged in as {USER}. You can close this tab.", timeout=60_000)
    code, out, err = login.end()
    assert code == 0 and out.endswith(f"Logged in as {USER}.\n"), err
    return out + err


def test_without_a_login_it_says_what_to_do(stack):
    off = stream(stack, "account_stashes")
    assert off["state"] == "off" and "souk login account" in off["last_error"]
    for words in (["login"], ["login", "status"]):
        done = run_souk(*words, config=stack.config_file)
        assert done.returncode == 1 and "nobody is logged in: souk login account" in done.stderr
    done = run_souk("login", "--json", config=stack.config_file)
    assert done.returncode == 1 and json.loads(done.stdout)["logged_in"] is False
    for words in (["login", "nobody"], ["login", "account", "more"], ["login", "account", "--wait", "2h"], ["logout", "now"]):
        assert run_souk(*words, config=stack.config_file).returncode == 2
    done = run_souk("login", "account", "--redirect", "http://evil.example/", config=stack.config_file)
    assert done.returncode == 78 and "expected http://127.0.0.1" in done.stderr
    done = run_souk("login", "account", "--no-browser", "--wait", "100ms", config=stack.config_file)
    assert done.returncode == 1 and "nobody came back" in done.stderr
    bare = stack.folder / "bare.yaml"  # Neither a code nor a token goes over the network unencrypted.
    bare.write_text(json.dumps(stack.config | {"sources": {"oauth": {"base_url": "http://tokens.example"}}}))
    done = run_souk("login", "account", config=bare)
    assert done.returncode == 78 and "expected https" in done.stderr
    assert not file_of(stack).exists()


def test_a_no_is_a_no(stack, page):
    login = Login(stack)
    page.goto(login.url)
    page.get_by_role("button", name="Deny").click()
    expect(page.locator("p")).to_have_text(re.compile("Not logged in"), timeout=60_000)
    code, _, err = login.end()
    assert code == 1 and "not logged in" in err
    assert not file_of(stack).exists()


def test_a_code_that_is_refused_logs_nobody_in(stack, page):
    """The vendor takes no code twice: whoever has seen it come by is too late, and so is its owner."""
    login = Login(stack)
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(login.url).query))
    assert asked["code_challenge_method"] == "S256" and len(asked["state"]) == 43 and len(asked["code_challenge"]) == 43
    page.allowed_complaints = ("400",)
    page.goto(asked["redirect_uri"] + "?code=guessed&state=guessed")
    expect(page.locator("p")).to_have_text("This is not what souk waits for.")
    page.goto(asked["redirect_uri"] + "?code=guessed&state=" + asked["state"])
    expect(page.locator("p")).to_have_text(re.compile("Not logged in: .*invalid_grant"), timeout=60_000)
    code, _, err = login.end()
    assert code == 1 and "invalid_grant" in err
    assert not file_of(stack).exists()


def test_a_user_logs_in(stack, page):
    said = log_in(stack, page)
    assert "restart souk" in said  # It runs without one: its streams are made at the start.
    assert stat.S_IMODE(file_of(stack).stat().st_mode) == 0o600
    done = run_souk("login", config=stack.config_file)
    assert done.returncode == 0 and USER in done.stdout and re.search(r"access +until \d{4}-", done.stdout), done
    shown = json.loads(run_souk("login", "status", "--json", config=stack.config_file).stdout)
    assert shown["logged_in"] and shown["account"] == USER and shown["scope"] == "account:stashes oauth:revoke"
    assert shown["access_until_s"] == shown["renewed_s"] + 36000
    token = refresh_token(stack)
    for text in (said, done.stdout, json.dumps(shown)):
        assert token not in text


def test_its_stash_becomes_rows_of_its_account(stack):
    stack.stop("souk")
    before = refresh_token(stack)
    stack.start_souk()
    note(stack, "scope account:stashes is granted")
    assert 'souk_oauth_scope_granted{scope="account:stashes"} 1\n' in ask(stack.hub, "/metrics")
    until("rows of the stash", 90, lambda: stack.count("bronze_account_stash_snapshot") > 0, tell(stack))
    assert stack.query("SELECT uniqExact(account_hash) FROM bronze_account_stash_snapshot") == "1"
    assert stack.query(f"SELECT lower(hex(xxh3_128('{USER}'))) = any(account_hash) FROM bronze_account_stash_snapshot") == "1"
    until("the audit of the scope", 60, lambda: stack.query("SELECT DISTINCT scope, available, detail FROM ops_scope_audit")
          == "account:stashes\t1\tgranted", tell(stack))
    assert refresh_token(stack) != before  # It was good once.
    assert stack.metric("souk_login_renewals_total") == 1


def test_each_renewal_is_on_disk_and_the_one_before_is_spent(stack):
    before = refresh_token(stack)
    poll(stack)
    after = refresh_token(stack)
    assert after != before
    assert stat.S_IMODE(file_of(stack).stat().st_mode) == 0o600
    code, said = renew(stack, before)
    assert code == 400 and "invalid_grant" in said
    until("it is counted", 20, lambda: 'souk_login_renewals_total{result="saved"} 2\n' in ask(stack.hub, "/metrics"))
    assert json.loads(file_of(stack).read_text())["username"] == USER


def test_what_the_disk_does_not_take_is_written_again(stack):
    before = refresh_token(stack)
    in_the_way = stack.folder / "souk" / "login.json.next"
    in_the_way.mkdir()
    poll(stack)
    until("it is said", 20, lambda: "souk_login_unsaved 1\n" in ask(stack.hub, "/metrics"), tell(stack))
    assert 'souk_login_renewals_total{result="unsaved"} 1\n' in ask(stack.hub, "/metrics")
    assert refresh_token(stack) == before and "the login cannot be saved" in stack.log()
    poll(stack)  # The newest is in memory, and good.
    note(stack, "scope account:stashes is granted")
    in_the_way.rmdir()
    until("it is on disk", 60, lambda: refresh_token(stack) != before, tell(stack))
    until("it is said", 20, lambda: "souk_login_unsaved 0\n" in ask(stack.hub, "/metrics"), tell(stack))
    stack.stop("souk")
    stack.start_souk()
    note(stack, "scope account:stashes is granted")


def test_a_login_that_is_over_is_told_once_and_not_tried_again(stack, page):
    stack.stop("souk")
    code, _ = renew(stack, refresh_token(stack))  # Somebody else has the next one now.
    assert code == 200
    stack.start_souk()
    note(stack, "the login is over")
    until("it is red", 30, lambda: stream(stack, "oauth")["level"] == "red", tell(stack))
    until("so is what needs it", 30, lambda: stream(stack, "account_stashes")["level"] == "red", tell(stack))

    def told():
        return [a for a in stack.alerts("disabled") if a["status"] == "firing" and "log in again: souk login account" in json.dumps(a)]

    until("it is told", 30, told, tell(stack))
    ids = sorted(a["id"] for a in told())
    asked = stack.simulator()["requests"]["oauth/token"]
    time.sleep(8)
    assert sorted(a["id"] for a in told()) == ids
    assert stack.simulator()["requests"]["oauth/token"] == asked
    stack.stop("souk")
    stack.start_souk()  # Nor by the next process.
    note(stack, "the login is over")
    until("it is red", 30, lambda: stream(stack, "oauth")["level"] == "red", tell(stack))
    assert stack.simulator()["requests"]["oauth/token"] == asked
    # Logging in again is enough.
    said = log_in(stack, page, "--redirect", "http://127.0.0.1/auth/back")
    assert "restart" not in said
    note(stack, "scope account:stashes is granted")
    until("it is well again", 60, lambda: stream(stack, "oauth")["level"] == "green", tell(stack))
    ask(stack.hub, "/api/v1/sources/poll?source=account_stashes", method="POST", body="")
    until("a good answer ends the alerts", 90, lambda: not told(), tell(stack))


def test_another_login_is_not_overwritten(stack, page):
    """Somebody removes the file while souk holds a token: what it renews must not bring the login back."""
    kept = file_of(stack).read_bytes()
    file_of(stack).unlink()
    poll(stack)
    until("it is seen", 30, lambda: 'souk_login_renewals_total{result="superseded"} 1\n' in ask(stack.hub, "/metrics"), tell(stack))
    assert not file_of(stack).exists()
    log_in(stack, page)
    assert file_of(stack).read_bytes() != kept
    note(stack, "scope account:stashes is granted")


def test_its_secrets_are_in_its_file_alone(stack):
    stack.stop("souk")
    secret = re.compile(rb"simr?-[0-9a-f]{16}\.[0-9a-f]+\.")
    assert secret.search(file_of(stack).read_bytes())  # What is looked for is there.
    shown = run_souk("wal", "dump", "--payload", config=stack.config_file, seconds=60)
    places = {"log": stack.log().encode(), "wal": (shown.stdout + shown.stderr).encode()}
    for file in (stack.folder / "souk").rglob("*"):
        if file.is_file() and file != file_of(stack):
            places[file.name] = file.read_bytes()
    assert len(places) > 2 and b"account:stashes" in places["wal"]
    for name, content in places.items():
        assert not secret.search(content), name
        assert USER.encode() not in content, name
    stack.start_souk()
    note(stack, "scope account:stashes is granted")
    for path in ("/api/v1/status", "/metrics", "/api/v1/throttle", "/api/v1/alerts", "/api/v1/cursors"):
        try:
            text = ask(stack.hub, path).encode()
        except OSError as error:
            text = str(error).encode()
        assert not secret.search(text) and USER.encode() not in text, path


def test_logging_out_ends_it_everywhere(stack):
    token = refresh_token(stack)
    done = run_souk("logout", config=stack.config_file)
    assert done.returncode == 0 and "Logged out." in done.stdout, done
    assert not file_of(stack).exists()
    code, said = renew(stack, token)
    assert code == 400 and "invalid_grant" in said
    assert 'souk_oauth_scope_granted{scope="account:stashes"} 0\n' in ask(stack.hub, "/metrics")
    ask(stack.hub, "/api/v1/sources/poll?source=account_stashes", method="POST", body="")
    until("it asks no more", 30, lambda: "nobody is logged in" in stream(stack, "account_stashes")["last_error"], tell(stack))
    done = run_souk("logout", config=stack.config_file)
    assert done.returncode == 0 and "Nobody was logged in." in done.stdout
    assert stack.simulator()["violations"] == 0

"""souk login, logout and check --env against a token endpoint that says what a test wants: what is refused leaves the login
that was there, and what is removed is withdrawn where it can be."""

import http.server
import json
import pathlib
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import stacks  # noqa: E402

SCOPES = "account:stashes oauth:revoke"


class Vendor(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.server.asked.append((self.path, form))
        answer = {} if self.path.endswith("/revoke") else {
            "access_token": "tok-0123456789", "token_type": "bearer", "expires_in": 36000, "username": "exile#1",
            "refresh_token": f"ref-{len(self.server.asked):010}"} | self.server.granted
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class World:
    def __init__(self, folder, vendor):
        self.folder, self.vendor = folder, vendor
        self.file = folder / "state" / "login.json"
        self.hub, self.native = stacks.free_ports(2)  # Nobody listens there.

    def config(self, client="me", url=None):
        url = url or f"http://127.0.0.1:{self.vendor.server_port}"
        path = self.folder / "souk.yaml"
        path.write_text(json.dumps({
            "state_dir": str(self.folder / "state"), "agent": {"client_id": client}, "hub": {"port": self.hub},
            "clickhouse": {"host": "127.0.0.1", "port": self.native},
            "sources": {"psapi": {"enabled": False}, "poe_ninja": {"enabled": False},
                        "oauth": {"base_url": url, "scopes": SCOPES.split()},
                        "account_stashes": {"enabled": True, "base_url": "http://127.0.0.1:1", "leagues": ["Standard"]}}}))
        return path

    def run(self, *words, **config):
        return stacks.run_souk(*words, config=self.config(**config), seconds=120)

    def log_in(self, **granted):
        """@return exit code and standard error of souk login account, whose user agrees."""
        self.vendor.granted = granted
        command = [stacks.SOUK, "--config", self.config(), "login", "account", "--no-browser"]
        login = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=stacks.environment(), stdin=subprocess.DEVNULL)
        url = next(line.strip() for line in iter(login.stdout.readline, "") if line.startswith("http"))
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        back = asked["redirect_uri"] + "?" + urllib.parse.urlencode({"code": "c0de", "state": asked["state"]})
        try:
            stacks.OPENER.open(back, timeout=60).close()
        except urllib.error.HTTPError as error:
            assert error.code == 400
        _, err = login.communicate(timeout=60)
        return login.returncode, err

    def token(self):
        return json.loads(self.file.read_text())["refresh_token"]

    def withdrawn(self):
        return [form["token"] for path, form in self.vendor.asked if path.endswith("/revoke")]

    def checks(self, **config):
        done = self.run("check", "--env", "--json", **config)
        return {c["name"]: c for c in json.loads(done.stdout)["checks"]}


@pytest.fixture
def world(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    server.asked, server.granted = [], {}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield World(tmp_path, server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_less_than_was_asked_for_logs_nobody_in(world):
    code, err = world.log_in(scope="oauth:revoke account:stashes")
    assert code == 0, err
    before = world.file.read_bytes()
    for less in ("account:profile", "account:stashes2 oauth:revoke", "account"):
        code, err = world.log_in(scope=less)
        assert code == 1 and "without account:stashes" in err, err
        assert world.file.read_bytes() == before
    code, err = world.log_in()  # The answer need not say it when it is all that was asked for.
    assert code == 0 and world.file.read_bytes() != before, err


def test_what_others_may_read_is_withdrawn_too(world):
    assert world.log_in()[0] == 0
    token = world.token()
    world.file.chmod(0o644)
    done = world.run("logout")
    assert done.returncode == 0 and "Logged out." in done.stdout, done
    assert world.withdrawn() == [token] and not world.file.exists()


def test_what_cannot_be_read_is_removed_and_said(world):
    assert world.log_in()[0] == 0
    world.file.write_text("{")
    done = world.run("logout")
    assert done.returncode == 1 and "nothing is withdrawn" in done.stderr and "Nobody" not in done.stdout, done
    assert world.withdrawn() == [] and not world.file.exists()
    done = world.run("logout")
    assert done.returncode == 0 and "Nobody was logged in." in done.stdout, done


def test_nothing_secret_goes_to_another_machine_in_the_clear(world):
    assert world.log_in()[0] == 0
    elsewhere = "http://tokens.example"
    login = world.checks(url=elsewhere)["login"]
    assert login["result"] == "warn" and "expected https" in login["what"]
    done = world.run("logout", url=elsewhere)
    assert done.returncode == 78 and "expected https" in done.stderr, done
    assert not world.file.exists()


def test_check_goes_by_the_login_as_run_does(world):
    found = world.checks()
    assert "login" not in found and "souk login account" in found["source.account_stashes.token"]["hint"]
    assert world.log_in()[0] == 0
    found = world.checks()
    assert found["login"]["result"] == "ok" and "source.account_stashes.token" not in found, found
    assert found["source.oauth.dns"]["result"] == "ok"
    found = world.checks(client="another")
    assert found["login"]["result"] == "warn" and "client id me" in found["login"]["what"]
    assert found["source.account_stashes.token"]["result"] == "warn"

"""The files that a running souk reads anew: what a reload takes of them, and what lies there that is no file.

A real souk whose one source and whose ClickHouse are away.
"""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import stacks  # noqa: E402
from stacks import until  # noqa: E402

OFF = ("account_stashes", "currency_exchange", "enrichment", "leagues", "psapi", "trade_data")
READ, WRITE = "reader-0123456789abcdef", "writer-0123456789abcdef"
PATIENCE_S = 60


class Souk:
    def __init__(self, folder, **hub):
        self.port, away = stacks.free_ports(2)
        self.config_file, self.password = folder / "souk.yaml", folder / "password"
        self.log_file = folder / "souk.log"
        self.password.write_text("secret\n")
        self.config = {"state_dir": str(folder / "state"),
                       "clickhouse": {"host": "127.0.0.1", "port": away, "password_file": str(self.password)},
                       "hub": {"port": self.port} | hub,
                       "sources": {s: {"enabled": False} for s in OFF} | {"poe_ninja": {"base_url": f"http://127.0.0.1:{away}"}}}
        self.config_file.write_text(json.dumps(self.config))
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen([str(stacks.SOUK), "--config", str(self.config_file), "run"], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=stacks.environment())
        until("it answers", PATIENCE_S, lambda: self.process.poll() is not None or self.ask("GET", "/-/healthy") == 200, self.log)
        assert self.process.poll() is None, self.log()

    def log(self):
        return self.log_file.read_text(errors="replace")

    def request(self, method, path, **headers):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            c.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            answer = c.getresponse()
            return answer, answer.read().decode()
        finally:
            c.close()

    def ask(self, method, path, **headers):
        try:
            return self.request(method, path, **headers)[0].status
        except OSError:
            return None

    def metric(self, name):
        lines = self.request("GET", "/metrics")[1].splitlines()
        return sum(float(l.split()[-1]) for l in lines if l.startswith((name + " ", name + "{")))

    def hup(self):
        """SIGHUP, until its reading has ended."""
        before = self.metric("souk_config_reloads_total")
        self.process.send_signal(signal.SIGHUP)
        until("it was read", PATIENCE_S, lambda: self.metric("souk_config_reloads_total") > before, self.log)
        return self.metric("souk_config_last_reload_successful") == 1

    def end(self):
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "it hangs"
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def souk(tmp_path):
    s = Souk(tmp_path, open_to_local=True)
    yield s
    assert s.end() == 0, s.log()


def put_fifo(path):
    """@return what puts the file back, as a person would."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    os.mkfifo(path)
    return lambda: aside.rename(path)


def test_a_fifo_as_configuration_is_refused_and_the_next_file_taken(souk):
    back = put_fifo(souk.config_file)
    for _ in range(3):
        assert not souk.hup()
    assert "it is no regular file" in souk.log()
    back()
    assert souk.hup()


def test_a_fifo_as_password_file_leaves_the_last_password(souk):
    back = put_fifo(souk.password)
    until("it has tried to connect again", PATIENCE_S, lambda: "password file cannot be read" in souk.log(), souk.log)
    assert "it is no regular file" in souk.log()
    assert souk.ask("GET", "/-/healthy") == 200
    back()


def stream(souk, path, token):
    """@return an answer of server-sent events that goes on."""
    c = http.client.HTTPConnection("127.0.0.1", souk.port, timeout=PATIENCE_S)
    c.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = c.getresponse()
    assert answer.status == 200 and answer.readline() == b"retry: 1000\n"
    return answer


@pytest.mark.parametrize("how", ["hup", "call"])
def test_a_token_that_is_gone_reads_nothing_any_more(tmp_path, how):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"reader {READ}\nboss {WRITE} write\n")
    souk = Souk(tmp_path, open_to_local=False, tokens_file=str(tokens))
    bearer = {"Authorization": f"Bearer {READ}"}
    try:
        session, _ = souk.request("POST", "/api/v1/session", **bearer)
        cookie = {"Cookie": session.getheader("set-cookie").split(";")[0]}
        lines = stream(souk, "/sse/alerts", READ)
        others = stream(souk, "/sse/alerts", WRITE)

        def reload():
            if how == "hup":
                return souk.hup()
            status = souk.ask("POST", "/api/v1/reload", Authorization=f"Bearer {WRITE}")
            assert status in (200, 409)
            return status == 200

        def answers():
            return [souk.ask("GET", "/api/v1/status", **h) for h in (bearer, cookie, {"Authorization": f"Bearer {WRITE}"})]

        assert answers() == [200, 200, 200]
        assert reload() and answers() == [200, 200, 200], "nothing has changed"
        # All or nothing: neither the file of tokens without the configuration, nor the other way round.
        tokens.write_text(f"boss {WRITE} write\nreader short\n")
        assert not reload() and f"{tokens}:2: expected" in souk.log()
        tokens.write_text(f"boss {WRITE} write\n")
        souk.config_file.write_text(json.dumps(souk.config | {"batch": {"age_ms": 400}}))
        assert not reload() and answers() == [200, 200, 200]
        back = put_fifo(tokens)
        souk.config_file.write_text(json.dumps(souk.config))
        assert not reload() and answers() == [200, 200, 200]
        back()
        assert reload() and answers() == [401, 401, 200]
        assert lines.read() is not None, "the stream has ended"
        assert souk.metric("souk_hub_passes") == 0
        # One that is new is good at once, and what it is not told to is refused.
        tokens.write_text(f"boss {WRITE} write\nreader {READ}\n")
        assert reload() and answers() == [200, 401, 200]
        assert READ not in souk.log() and WRITE not in souk.log()
        others.close()
    finally:
        code = souk.end()
    assert code == 0, souk.log()

"""Tests of souk-clickhouse against the real engine: start, query, kill, restart, stop, ports, lock.

usage: test_launcher.py PATH_TO_SOUK_CLICKHOUSE
Exits 77 (skipped) where libchdb.so is not installed.
"""

import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

LAUNCHER = sys.argv[1]
LIMIT_S = 60


class Refused(Exception):
    """What the engine says to whom it serves nothing."""


class Launcher:
    """One launcher process; its standard output is read line by line with a deadline."""

    def __init__(self, path, *options, umask=0o022, env=None):
        self.path = path
        self.process = subprocess.Popen(
            [LAUNCHER, "--path", path, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            umask=umask,
            env=env,
        )
        self.pending = b""

    def line(self):
        deadline = time.monotonic() + LIMIT_S
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.process.stdout], [], [], deadline - time.monotonic())
            piece = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not piece:
                raise AssertionError(f"no line; standard error: {self.errors()!r}")
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()

    def ready(self):
        line = self.line()
        assert line.startswith("ready tcp="), line
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        self.tcp, self.http, self.version = fields["tcp"], fields.get("http"), fields["version"]
        return self

    def query(self, sql):
        return self.ask("/", sql, {"X-ClickHouse-User": "souk", "X-ClickHouse-Key": self.password()})

    def ask(self, path, sql=None, headers=None):
        """Over HTTP, as whoever the headers say; what is refused raises with what the engine said."""
        request = urllib.request.Request(f"http://{self.http}{path}", data=sql and sql.encode(), headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                self.answer_headers = answer.headers
                return answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            self.answer_headers = error.headers
            raise Refused(error.read().decode(errors="replace")) from None

    def password(self):
        return (pathlib.Path(self.path) / "password").read_text().strip()

    def engine_pid(self):
        task = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        (pid,) = pathlib.Path(task).read_text().split()
        return int(pid)

    def errors(self):
        self.process.kill()
        return self.process.communicate()[1].decode()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


def wait_for_end(pid):
    """Waits until a process that is not our child is gone; a zombie counts as gone."""
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], LIMIT_S)[0])
    finally:
        os.close(fd)


class LauncherTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = self.folder.name + "/ch"

    def tearDown(self):
        self.folder.cleanup()

    def start(self, *options, **more):
        launcher = Launcher(self.path, "--tcp-port", "0", "--http-port", "0", *options, **more).ready()
        self.addCleanup(lambda: launcher.process.poll() is None and launcher.errors())
        return launcher

    def test_data_survive_a_killed_engine_and_a_restart(self):
        one = self.start()
        self.assertEqual(one.query("SELECT 1 + 1"), "2")
        self.assertTrue(one.query("SELECT version()").startswith(one.version))
        one.query("CREATE DATABASE d")
        one.query("CREATE TABLE d.t (x UInt32) ENGINE = MergeTree ORDER BY x")
        one.query("INSERT INTO d.t SELECT number FROM numbers(1000)")
        os.kill(one.engine_pid(), signal.SIGKILL)
        one.ready()  # Says so again, on the same ports.
        self.assertEqual(one.query("SELECT sum(x) FROM d.t"), "499500")
        self.assertEqual(one.stop(), 0)
        two = self.start()
        self.assertEqual(two.query("SELECT sum(x) FROM d.t"), "499500")
        self.assertEqual(two.stop(), 0)

    def test_the_engine_survives_garbage_and_a_reset(self):
        one = self.start()
        host, port = one.tcp.split(":")
        for payload in (b"GET / HTTP/1.0\r\n\r\n", b"\x00" * 64, b"\xff" * 64):
            with socket.create_connection((host, int(port)), timeout=LIMIT_S) as client:
                client.sendall(payload)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        pid = one.engine_pid()
        self.assertEqual(one.query("SELECT 2 + 2"), "4")
        self.assertEqual(one.engine_pid(), pid)
        self.assertEqual(one.stop(), 0)

    def test_the_engine_ends_with_a_killed_launcher(self):
        one = self.start()
        pid = one.engine_pid()
        one.process.kill()
        one.process.communicate()
        self.assertTrue(wait_for_end(pid))
        self.assertEqual(self.start().stop(), 0)

    def test_nobody_gets_in_without_the_password(self):
        one = self.start()
        souk = {"X-ClickHouse-User": "souk"}
        sql = urllib.parse.quote("SELECT 1")
        for headers in ({}, souk, souk | {"X-ClickHouse-Key": one.password()[:-1]}, {"X-ClickHouse-User": "default"},
                        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": one.password()}):
            for body in ("SELECT 1", "SYSTEM STOP LISTEN TCP", None):
                path = "/" if body else f"/?query={sql}"
                with self.assertRaises(Refused, msg=f"{headers} {body}") as refused:
                    one.ask(path, body, headers)
                self.assertRegex(str(refused.exception), "AUTHENTICATION_FAILED|USER_SESSION_LIMIT_EXCEEDED")
        for path in ("/?session_id=x", "/?user=default", "/?user=souk&password=", "/?database=default&default_format=CSV"):
            with self.assertRaises(Refused):
                one.ask(path, "SELECT 1")
        # The native port too: a hello is answered by an exception, or the first query is.
        hello = b"\0\x04test\0\1\x8c\xa9\3\7default\7default\0"
        host, port = one.tcp.split(":")
        with socket.create_connection((host, int(port)), timeout=LIMIT_S) as client:
            client.sendall(hello)
            self.assertEqual(client.recv(1), b"\2")
        self.assertEqual(one.query("SELECT 1"), "1")
        os.kill(one.engine_pid(), signal.SIGKILL)
        one.ready()  # A new engine is as closed.
        with self.assertRaises(Refused):
            one.ask("/", "SELECT 1")
        self.assertEqual(one.stop(), 0)

    def test_no_page_of_a_browser_reads_an_answer(self):
        one = self.start()
        origin = {"Origin": "https://page.example"}
        right, wrong = (urllib.parse.urlencode({"user": "souk", "password": p}) for p in (one.password(), "wrong"))
        # As the engine's own page, /play, asks: whoever has the password gets an answer, and only the same origin reads it.
        for more in ("", "&add_http_cors_header=1"):
            for sql in ("SELECT 1", "SELECT 1 SETTINGS add_http_cors_header = 1"):
                self.assertEqual(one.ask(f"/?{right}{more}", sql, origin), "1")
                self.assertNotIn("Access-Control-Allow-Origin", one.answer_headers)
            for login, sql in ((wrong, "SELECT 1"), ("", "SELECT 1"), (right, "SELECT nothing")):
                with self.assertRaises(Refused):
                    one.ask(f"/?{login}{more}", sql, origin)
                self.assertNotIn("Access-Control-Allow-Origin", one.answer_headers)
            request = urllib.request.Request(f"http://{one.http}/?{right}{more}", headers=origin | {"Access-Control-Request-Method": "POST"},
                                             method="OPTIONS")
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                self.assertEqual([name for name in answer.headers if name.lower().startswith("access-control-allow")], [])
        self.assertEqual(one.stop(), 0)

    def test_the_user_has_tables_and_nothing_else(self):
        secret = pathlib.Path(self.folder.name) / "secret.csv"
        secret.write_text("31337\n")
        env = os.environ | {"POE_CLIENT_SECRET": "secret-31337"}
        one = self.start(env=env)
        one.query("CREATE DATABASE d")
        one.query("CREATE TABLE d.t (x UInt32) ENGINE = MergeTree ORDER BY x")
        other = f"http://{one.http}/ping"
        for sql in (f"SELECT * FROM file('{secret}', 'CSV', 'x UInt32')", f"SELECT file('{secret}')",
                    f"INSERT INTO d.t FROM INFILE '{secret}' FORMAT CSV",
                    f"INSERT INTO FUNCTION file('{secret}', 'CSV', 'x UInt32') SELECT 1",
                    f"SELECT 1 INTO OUTFILE '{secret}.out'", f"SELECT file('/proc/{os.getpid()}/environ')",
                    f"CREATE TABLE d.f (x UInt32) ENGINE = File(CSV, '{secret}')",
                    f"CREATE DATABASE f ENGINE = Filesystem('{self.folder.name}')",
                    f"CREATE TABLE d.l (x UInt32) ENGINE = MergeTree ORDER BY x SETTINGS "
                    f"disk = disk(type = 'local', path = '{self.folder.name}/disk/')",
                    f"BACKUP DATABASE d TO File('{self.folder.name}/backup')",
                    f"SELECT * FROM url('{other}', 'LineAsString')", f"INSERT INTO FUNCTION url('{other}', 'CSV', 'x UInt32') SELECT 1",
                    f"SELECT * FROM remote('{one.tcp}', 'system', 'one')", f"SELECT * FROM s3('{other}/bucket/key', 'CSV', 'x UInt32')",
                    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SELECT * FROM executable('x', 'CSV', 'x UInt32')",
                    f"CREATE TABLE d.u (x UInt32) ENGINE = URL('{other}', 'CSV')",
                    f"CREATE TABLE d.w (x UInt32) ENGINE = MergeTree ORDER BY x SETTINGS disk = disk(type = 'web', endpoint = '{other}/')",
                    f"CREATE DICTIONARY d.d (x UInt32) PRIMARY KEY x SOURCE(HTTP(url '{other}' format 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
                    "CREATE USER u", "ALTER USER souk IDENTIFIED WITH no_password", "GRANT ALL ON *.* TO souk", "CREATE FUNCTION f AS x -> x",
                    "SYSTEM STOP LISTEN TCP", "SYSTEM SHUTDOWN", "SYSTEM STOP MERGES d.t", "DROP TABLE system.one",
                    "CREATE TABLE system.x (x UInt32) ENGINE = MergeTree ORDER BY x", "CREATE NAMED COLLECTION n AS a = 1"):
            with self.assertRaises(Refused, msg=sql) as refused:
                one.query(sql)
            self.assertNotIn("31337", str(refused.exception).replace(sql, ""), sql)
        self.assertNotIn("31337", one.query("SELECT file('/proc/self/environ')"))
        self.assertEqual(one.query("SELECT count() FROM d.t"), "0")
        self.assertEqual(secret.read_text(), "31337\n")
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["ch", "secret.csv"])
        self.assertEqual(one.stop(), 0)

    def open_to_others(self):
        return [str(p) for p in [pathlib.Path(self.path), *pathlib.Path(self.path).rglob("*")] if not p.is_symlink() and p.stat().st_mode & 0o77]

    def test_everything_is_the_owners_whatever_the_umask(self):
        one = self.start(umask=0)
        one.query("CREATE DATABASE d")
        one.query("CREATE TABLE d.t (x UInt32) ENGINE = MergeTree ORDER BY x")
        one.query("INSERT INTO d.t SELECT number FROM numbers(1000)")
        one.query("OPTIMIZE TABLE d.t FINAL")
        self.assertEqual(self.open_to_others(), [])
        self.assertEqual(one.stop(), 0)
        self.assertEqual(self.open_to_others(), [])

    def test_a_folder_of_an_older_version_goes_on_and_is_closed(self):
        # As it was: anybody was default, who made the tables and views, and others could read the files.
        extra = pathlib.Path(self.path) / "users.d"
        extra.mkdir(parents=True)
        (extra / "default.xml").write_text(
            '<clickhouse><users><default replace="replace"><no_password/><networks><ip>127.0.0.1</ip></networks>'
            "<profile>default</profile><quota>default</quota></default></users></clickhouse>")
        old = self.start()
        for sql in ("CREATE DATABASE d", "CREATE TABLE d.t (x UInt32) ENGINE = MergeTree ORDER BY x",
                    "CREATE TABLE d.sums (x UInt32) ENGINE = MergeTree ORDER BY x",
                    "CREATE MATERIALIZED VIEW d.v TO d.sums AS SELECT sum(x) AS x FROM d.t", "INSERT INTO d.t VALUES (1), (2)"):
            old.ask("/", sql)
        self.assertEqual(old.stop(), 0)
        (extra / "default.xml").unlink()
        (pathlib.Path(self.path) / "password").unlink()
        for path in [pathlib.Path(self.path), *pathlib.Path(self.path).rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        new = self.start()
        new.query("INSERT INTO d.t VALUES (3), (4)")
        self.assertEqual(new.query("SELECT x FROM d.sums ORDER BY x").split(), ["3", "7"])
        self.assertEqual(self.open_to_others(), [])
        with self.assertRaises(Refused):
            new.ask("/", "SELECT 1")
        first = new.password()
        self.assertEqual(new.stop(), 0)
        again = self.start()
        self.assertEqual(again.password(), first)
        self.assertEqual(again.query("SELECT count() FROM d.t"), "4")
        self.assertEqual(again.stop(), 0)

    def test_a_password_of_ones_own_is_taken_and_a_bad_one_said(self):
        os.mkdir(self.path)
        password = pathlib.Path(self.path) / "password"
        password.write_text("correct-horse-battery\n")
        one = self.start()
        self.assertEqual(one.query("SELECT 1"), "1")
        self.assertEqual(password.stat().st_mode & 0o777, 0o600)
        self.assertEqual(one.stop(), 0)
        for bad in ("", "short", "x" * 200, "</password><evil>12345"):
            password.write_text(bad)
            command = [LAUNCHER, "--path", self.path, "--tcp-port", "0", "--http-port", "0"]
            run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
            self.assertEqual(run.returncode, 1, bad)
            self.assertIn("password: expected", run.stderr)

    def test_clickhouse_client_logs_in_with_the_file(self):
        program = shutil.which("clickhouse-client")
        if program is None:
            self.skipTest("no clickhouse-client")
        one = self.start()
        command = [program, "--config-file", f"{self.path}/client.xml", "--query", "SELECT 6 * 7"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual((run.stdout.strip(), run.returncode), ("42", 0), run.stderr)
        self.assertEqual(one.stop(), 0)

    def test_one_launcher_a_folder(self):
        one = self.start()
        second = subprocess.run([LAUNCHER, "--path", self.path], capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(second.returncode, 75)
        self.assertIn(f"in use by process {one.process.pid}", second.stderr)
        self.assertEqual(one.stop(), 0)

    def test_a_port_in_use_is_said(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            for option in ("--tcp-port", "--http-port"):
                other = "--http-port" if option == "--tcp-port" else "--tcp-port"
                command = [LAUNCHER, "--path", self.path, option, port, other, "0"]
                run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
                self.assertEqual(run.returncode, 1)
                self.assertIn(f"port {port} ", run.stderr)
                self.assertIn("in use", run.stderr)

    def test_no_library_is_one_line(self):
        command = [LAUNCHER, "--path", self.path, "--lib", "/nowhere/libchdb.so"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(run.returncode, 69)
        self.assertEqual(run.stderr.count("\n"), 1)
        self.assertIn("deploy/install --run", run.stderr)

    def test_a_library_that_does_not_load_is_said(self):
        broken = self.folder.name + "/libchdb.so"
        pathlib.Path(broken).write_bytes(b"not an object file")
        command = [LAUNCHER, "--path", self.path, "--tcp-port", "0", "--http-port", "0", "--lib", broken]
        run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(run.returncode, 69)
        self.assertIn(broken, run.stderr)

    def test_an_engine_that_always_dies_is_given_up(self):
        source = self.folder.name + "/dies.c"
        library = self.folder.name + "/libchdb.so"
        pathlib.Path(source).write_text(
            "#include <stdlib.h>\nvoid *chdb_query_cmdline(int c, char **v) { (void)c; (void)v; abort(); }\n"
        )
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        except FileNotFoundError:
            self.skipTest("no C compiler")
        command = [LAUNCHER, "--path", self.path, "--tcp-port", "0", "--http-port", "0", "--lib", library]
        run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(run.returncode, 1)
        self.assertEqual(run.stderr.count("starting again"), 4)
        self.assertIn("giving up", run.stderr)

    def test_a_large_log_is_turned_over(self):
        os.mkdir(self.path)
        log = pathlib.Path(self.path) / "clickhouse.log"
        log.write_bytes(b"x" * ((16 << 20) + 1))
        self.assertEqual(self.start().stop(), 0)
        self.assertEqual(log.with_suffix(".log.1").stat().st_size, (16 << 20) + 1)
        self.assertLess(log.stat().st_size, 1 << 20)

    def test_no_http(self):
        one = Launcher(self.path, "--tcp-port", "0", "--no-http").ready()
        self.assertIsNone(one.http)
        self.assertEqual(one.stop(), 0)

    def test_wrong_usage(self):
        for arguments in ([], ["--path", "x", "--tcp-port", "70000"], ["--path", "x", "--what"], ["--path", "x", "y"]):
            run = subprocess.run([LAUNCHER, *arguments], capture_output=True, text=True, timeout=LIMIT_S)
            self.assertEqual(run.returncode, 64, arguments)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as probe_folder:
        command = [LAUNCHER, "--path", probe_folder, "--tcp-port", "bad"]
        assert subprocess.run(command, capture_output=True).returncode == 64
        first = Launcher(probe_folder + "/probe", "--tcp-port", "0", "--http-port", "0")
        try:
            first.ready()
            first.stop()
        except AssertionError as error:
            if "deploy/install" in str(error):
                print("skipped: libchdb.so is not installed")
                sys.exit(77)
            raise
    unittest.main(argv=sys.argv[:1], verbosity=2)

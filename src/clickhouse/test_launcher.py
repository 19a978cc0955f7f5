"""Tests of souk-clickhouse against the real engine: start, query, kill, restart, stop, ports, lock.

usage: test_launcher.py PATH_TO_SOUK_CLICKHOUSE
Exits 77 (skipped) where libchdb.so is not installed.
"""

import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

LAUNCHER = sys.argv[1]
LIMIT_S = 60


class Launcher:
    """One launcher process; its standard output is read line by line with a deadline."""

    def __init__(self, path, *options):
        self.process = subprocess.Popen(
            [LAUNCHER, "--path", path, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
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
        request = urllib.request.Request(f"http://{self.http}/", data=sql.encode())
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            return answer.read().decode().strip()

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

    def start(self, *options):
        launcher = Launcher(self.path, "--tcp-port", "0", "--http-port", "0", *options).ready()
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

"""deploy/install for somebody who is not root and has no sudo: what is there needs neither, and what is missing is named.

The machine's programs stand in folders of the test's own, so that nothing depends on what is installed here.
"""

import os
import pathlib
import shutil
import stat
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
VERSION = next(line.split("=")[1].split()[0] for line in (TOP / "deploy/install").read_text().splitlines() if line.startswith("chdb_version="))


@pytest.fixture
def machine(tmp_path):
    """Runs deploy/install with programs of the test's own; every package is @there, or none."""
    programs, prefix = tmp_path / "bin", tmp_path / "prefix"
    programs.mkdir()

    def program(name, text):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod((programs / name).stat().st_mode | stat.S_IXUSR)

    for name in ("bash", "sh", "env", "dirname", "uname", "grep", "cat", "mkdir", "rm", "sed", "paste"):
        (programs / name).symlink_to(shutil.which(name))
    program("id", "echo 1000")
    program("dpkg", "exit 0")
    program("apt-get", f"echo apt-get >>{tmp_path}/called; exit 1")
    library = prefix / "node_modules/@chdb/lib-linux-x64-gnu"
    library.mkdir(parents=True)
    (library / "package.json").write_text(f'{{"version": "{VERSION}"}}')
    (library / "libchdb.so").write_text("there")

    def run(there, *options):
        program("dpkg-query", "printf installed" if there else "exit 1")
        return subprocess.run([TOP / "deploy/install", *options], capture_output=True, text=True, timeout=60,
                              env={"PATH": str(programs), "SOUK_PREFIX": str(prefix), "HOME": os.environ.get("HOME", "/")})

    run.called = tmp_path / "called"
    return run


@pytest.mark.parametrize("group", ["--run", "--build"])
def test_where_nothing_is_missing_nobody_needs_root(machine, group):
    done = machine(True, group)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("install: done\n")
    assert not machine.called.exists()


def test_what_is_missing_is_named_before_root_is_asked_for(machine):
    done = machine(False, "--build")
    assert done.returncode == 1
    assert "needs root or sudo" in done.stderr
    assert "libuv1-dev" in done.stderr
    assert not machine.called.exists()

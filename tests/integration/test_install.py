"""deploy/install on a machine whose packages are all there, with an npm that only pretends."""

import os
import pathlib
import platform
import stat
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = {
    "apt-get": "",
    "dpkg-query": "printf installed\n",
    "dpkg": "",
    "npm": """while [ "$1" != --prefix ]; do shift; done
lib=$2/node_modules/@chdb/lib-linux-x64-gnu
mkdir -p "$lib"
echo library >"$lib/libchdb.so"
""",
}


@pytest.mark.skipif(platform.machine() != "x86_64" or "avx2" not in pathlib.Path("/proc/cpuinfo").read_text(),
                    reason="libchdb is for x86-64 with AVX2")
def test_what_is_installed_is_for_every_account(tmp_path):
    programs, prefix = tmp_path / "bin", tmp_path / "prefix"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text("#!/bin/sh\n" + text)
        (programs / name).chmod(0o755)
    before = os.umask(0o077)  # As the quickstart's, whose state is its owner's.
    try:
        done = subprocess.run([TOP / "deploy" / "install", "--run"], capture_output=True, text=True, timeout=120,
                              env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "SOUK_PREFIX": str(prefix)})
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    assert (prefix / "package.json").exists() and list(prefix.rglob("libchdb.so"))
    for path in [prefix, *prefix.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o055 == (0o055 if path.is_dir() else 0o044), (path, oct(mode))

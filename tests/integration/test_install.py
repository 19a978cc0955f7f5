"""deploy/install on a machine whose packages are all there, with an npm that only pretends; and the configuration that the
quickstart writes."""

import json
import os
import pathlib
import platform
import stat
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import stacks  # noqa: E402

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


@pytest.mark.parametrize("name", ["plain", 'a "quoted" one', "back\\slash", "${HOME}", "#no comment: [at, all]"])
def test_a_folder_is_named_as_it_is(tmp_path, name):
    state, config = tmp_path / name, tmp_path / "souk.yaml"
    state.mkdir()
    done = subprocess.run([sys.executable, TOP / "deploy/lib/stack.py", "config", TOP / "deploy/souk.yaml", config,
                           f"SOUK_STATE_DIR={state}", "SOUK_CLICKHOUSE_HOST=127.0.0.1", f"SOUK_CLICKHOUSE_PORT={stacks.free_ports(1)[0]}"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads(stacks.run_souk("check", "--env", "--json", config=config, seconds=120).stdout)["checks"]
    assert next(c for c in checks if c["name"] == "state_dir")["what"] == f"{state} can be written to"

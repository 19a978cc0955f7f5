"""tests/lib/beside.py, which runs modules side by side, and what such modules share: ports and files of lines."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "lib"))

import beside  # noqa: E402
import ports  # noqa: E402

WAIT_S = 60  # For what takes a second on a machine that is not loaded.


def modules(folder, **texts):
    """Writes modules. @return their arguments."""
    for name, text in texts.items():
        (folder / f"test_{name}.py").write_text(text)
    return [f"one={folder}/test_{name}.py" for name in texts]


def start(folder, *arguments, **environment):
    results = folder / "results"
    results.mkdir()
    return results, subprocess.Popen([sys.executable, TESTS / "lib/beside.py", "--results", results, *arguments], text=True,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment,
                                     start_new_session=True)


def wait_for(path):
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)


def cases(file):
    return [(c.get("name"), len(c) == 0) for c in ElementTree.parse(file).getroot().iter("testcase")]


def test_each_module_leaves_a_report_or_a_failure(tmp_path):
    given = modules(tmp_path, good="def test_a(): pass\ndef test_b(): pass\n", bad="def test_c(): assert 1 == 2\n",
                    broken="import nothing_of_this_name\n", gone="import os\ndef test_d(): os._exit(7)\n")
    results, run = start(tmp_path, "--at-once", "2", *given)
    out = run.communicate(timeout=WAIT_S)[0]
    assert run.returncode == 0, out
    assert cases(results / "one-test_good.xml") == [("test_a", True), ("test_b", True)]
    assert cases(results / "one-test_bad.xml") == [("test_c", False)]
    assert [ok for _, ok in cases(results / "one-test_broken.xml")] == [False]  # Not even read: an error is in the report.
    assert (results / "own.tsv").read_text() == "failed\tone test_gone\tpytest ended with 7 and no report\n"
    blocks = re.split(r"(?m)^== ", out)[1:]
    assert sorted(b.split(":")[0] for b in blocks) == ["one test_bad", "one test_broken", "one test_gone", "one test_good"]
    for block in blocks:
        assert re.match(r"one test_\w+: \d+ s, \d+ s of processor\n", block), block
        assert ("assert 1 == 2" in block) == block.startswith("one test_bad"), block


TOGETHER = """
import os, pathlib, time
def test_it():
    here = pathlib.Path(__file__)
    here.with_suffix(".ports").write_text(os.environ["SOUK_TEST_PORTS"] + " " + os.environ["OF_LABEL"])
    deadline = time.monotonic() + %d
    while len(list(here.parent.glob("*.ports"))) < 2:
        assert time.monotonic() < deadline, "nobody runs beside"
        time.sleep(0.02)
"""


def test_those_of_one_time_share_no_port(tmp_path):
    given = modules(tmp_path, a=TOGETHER % WAIT_S, b=TOGETHER % WAIT_S)
    results, run = start(tmp_path, "--at-once", "2", "--env", "one", "OF_LABEL=yes=1", *given, SOUK_TEST_PORTS="7000-7199")
    out = run.communicate(timeout=2 * WAIT_S)[0]
    said = [f.read_text().split() for f in tmp_path.glob("*.ports")]
    assert [ok for n in "ab" for _, ok in cases(results / f"one-test_{n}.xml")] == [True, True], out
    assert sorted(said) == [["7000-7099", "yes=1"], ["7100-7199", "yes=1"]]
    with pytest.raises(ValueError, match="too few ports"):
        beside.port_ranges(4, "7000-7099")


def test_a_signal_ends_what_a_module_started(tmp_path):
    text = """
import pathlib, pytest, time
here = pathlib.Path(__file__)
@pytest.fixture
def stack():
    yield
    time.sleep(2)  # A second signal is no reason to break off.
    here.with_suffix(".ended").touch()
def test_it(stack):
    here.with_suffix(".begun").touch()
    time.sleep(1000)
"""
    given = modules(tmp_path, a=text, b="def test_never(): pass\n")
    # As of a job in the background of a shell, which ignores SIGINT.
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        results, run = start(tmp_path, "--at-once", "1", *given)
    finally:
        signal.signal(signal.SIGINT, ignored)
    wait_for(tmp_path / "test_a.begun")
    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(run.pid, number)  # As Ctrl-C in a terminal, and then the end of the shell.
        time.sleep(0.5)
    run.communicate(timeout=WAIT_S)
    assert run.returncode == 1
    assert (tmp_path / "test_a.ended").exists() and not (results / "one-test_b.xml").exists()


def test_the_longest_begin_first_and_exist():
    first = beside.LONGEST[0]
    label, name = first.split("/")
    known = [("e2e", pathlib.Path("test_unknown.py")), (label, pathlib.Path(f"{name}.py"))]
    assert beside.order(known) == known[::-1]
    named = re.search(r'(?m)^judge_times="(.*?)"', (TESTS / "run").read_text()).group(1).split()
    assert named
    folders = {"e2e": "e2e", "crash": "e2e", "reliability-py": "reliability", "integration-py": "integration"}
    for place in [*beside.LONGEST, *named]:
        label, name = place.split("/")
        assert (TESTS / folders[label] / f"{name}.py").is_file(), f"{place} is no more"
    assert not set(named) & set(beside.LONGEST)


APPEND = """
import sys
sys.path.insert(0, sys.argv[1])
import jsonl
for i in range(20):
    jsonl.append(sys.argv[2], {"who": sys.argv[3], "i": i, "long": sys.argv[3] * 50000})
"""


def test_lines_of_several_processes_stay_whole(tmp_path):
    file = tmp_path / "lines"
    writers = [subprocess.Popen([sys.executable, "-c", APPEND, TESTS / "lib", file, who]) for who in "abcd"]
    assert [w.wait(WAIT_S) for w in writers] == [0] * 4
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted((r["who"], r["i"]) for r in lines) == [(who, i) for who in "abcd" for i in range(20)]
    assert all(r["long"] == r["who"] * 50000 for r in lines)


def is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_no_port_is_given_out_twice(monkeypatch):
    base = next(b for b in range(30000, 32000, 12) if all(map(is_free, range(b, b + 12))))
    monkeypatch.setenv("SOUK_TEST_PORTS", f"{base}-{base + 11}")
    monkeypatch.setattr(ports, "given", set())
    found = ports.free_ports(4, neighbours=True)
    assert found == list(range(found[0], found[0] + 4)) and (found[0] - base) % 4 == 0
    with pytest.raises(RuntimeError, match="no 4 free ports"):
        for _ in range(3):
            found += ports.free_ports(4)
    assert len(found) == len(set(found))

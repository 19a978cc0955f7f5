"""The last line of tests/run: what counts as passed, failed and skipped, and which skips are failures."""

import json
import pathlib
import subprocess
import sys

import pytest

TALLY = pathlib.Path(__file__).resolve().parents[1] / "lib" / "tally.py"
NO_DATA = "no recorded data at /nowhere/poe"


def cmocka(**cases):
    """What a program prints whose cases end so; (why) is said before a skip."""
    lines = [f"[==========] Running {len(cases)} test(s)."]
    for name, how in cases.items():
        verdict = {"ok": "       OK", "failed": "  FAILED "}.get(how, "  SKIPPED")
        lines += [f"[ RUN      ] {name}"] + ([how] if how not in ("ok", "failed") else []) + [f"[{verdict} ] {name}"]
    return "\n".join(lines) + f"\n[==========] {len(cases)} test(s) run.\n"


def tally(tmp_path, suites, *options):
    """Adds up @suites, {label: {case: how}}. Returns its exit status, its last line, and the lines before."""
    inputs = []
    for n, (label, cases) in enumerate(suites.items()):
        log = tmp_path / f"{n}.json"
        failed = "failed" in cases.values()
        log.write_text(json.dumps({"name": "one", "result": "FAIL" if failed else "OK", "returncode": int(failed), "stdout": cmocka(**cases)}) + "\n")
        inputs.append(f"{label}={log}")
    done = subprocess.run([sys.executable, TALLY, *inputs, *options], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return done.returncode, lines[-1], lines[:-1]


def test_what_passed_with_data_may_be_skipped_without(tmp_path):
    status, last, lines = tally(tmp_path, {"unit gcc": {"a_made": "ok", "a_recorded": "ok"}, "bare gcc": {"a_made": "ok", "a_recorded": NO_DATA}})
    assert (status, last) == (0, "3 passed, 0 failed, 1 skipped")
    assert lines == ["skipped: 1 tests of recorded data, which passed with it; of one"]


@pytest.mark.parametrize("with_data", [{"a_recorded": "failed"}, {"b_recorded": "ok"}, {"a_recorded": NO_DATA}])
def test_what_did_not_pass_with_data_may_not_be_skipped_without(tmp_path, with_data):
    status, last, lines = tally(tmp_path, {"unit gcc": with_data, "bare gcc": {"a_recorded": NO_DATA}})
    assert status == 1
    assert any(line.startswith("failed: bare gcc one: a_recorded: skipped, which nothing explains") for line in lines), lines


def test_another_compiler_explains_nothing(tmp_path):
    status, _, _ = tally(tmp_path, {"unit clang": {"a_recorded": "ok"}, "bare gcc": {"a_recorded": NO_DATA}})
    assert status == 1


def test_a_bare_clone_says_in_one_line_what_it_could_not_show(tmp_path):
    cases = {"a_made": "ok", "a_recorded": NO_DATA, "b_recorded": NO_DATA}
    status, last, lines = tally(tmp_path, {"unit gcc": cases, "unit clang": cases}, "--bare")
    assert (status, last) == (0, "2 passed, 0 failed, 4 skipped")
    assert lines == ["skipped: 4 tests of recorded data, of which there is none here; of one"]


def test_recorded_data_that_is_there_has_no_test_skipped(tmp_path):
    status, last, _ = tally(tmp_path, {"unit gcc": {"a_made": "ok", "a_recorded": NO_DATA}})
    assert (status, last) == (1, "1 passed, 1 failed, 0 skipped")


@pytest.mark.parametrize(("why", "failed"), [("promtool is not installed", 0), ("not today", 1), ("", 1), ("it is not installed, or so", 1)])
def test_other_skips_are_known_or_failures(tmp_path, why, failed):
    status, last, _ = tally(tmp_path, {"unit gcc": {"a": "ok", "b": why}})
    assert (status, last) == (failed, f"1 passed, {failed} failed, {1 - failed} skipped")


def test_a_file_of_pytest_that_was_skipped_says_why(tmp_path):
    (tmp_path / "test_one.py").write_text("import pytest\npytest.importorskip('no_such_module', reason='the package no_such_module is not installed')\n")
    (tmp_path / "test_two.py").write_text("import pytest\ndef test_a():\n    pass\ndef test_b():\n    pytest.skip('not today')\n")
    xml = tmp_path / "report.xml"
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={xml}", str(tmp_path)], capture_output=True)
    done = subprocess.run([sys.executable, TALLY, f"e2e={xml}"], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[-1] == "1 passed, 1 failed, 1 skipped", lines
    assert any(line.startswith("skipped: ") and line.endswith("is not installed") for line in lines), lines
    assert any(line.startswith("failed: ") and line.endswith("nothing explains: not today") for line in lines), lines

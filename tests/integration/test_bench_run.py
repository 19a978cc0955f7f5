"""bench/run --smallest: which benches it finds, and what it lets none of them get away with.

The real script in a tree of its own, whose benches are shell scripts and whose ninja only says that they are built.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
PRINTS = "printf '12.5 pages/s, ratio %s\\n' "  # And a figure behind it.
LINES = "# pages/s | ratio #"


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text + "\n")
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path):
    """A function that takes {name: script} of benches and lines of smallest.tsv, and runs them. @return exit status, {name: verdict and reason}, output."""
    (tmp_path / "bench").mkdir()
    shutil.copy(TOP / "bench/run", tmp_path / "bench/run")
    shutil.copytree(TOP / "tests/lib", tmp_path / "tests/lib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "build/release").mkdir(parents=True)
    (tmp_path / "build/release/build.ninja").touch()

    def run(built, smallest, *arguments, unbuilt=(), scripts=None):
        for name, text in built.items():
            (tmp_path / f"bench/bench_{name}.c").touch()
            program(tmp_path / f"build/release/src/bench_{name}", text)
        for name in unbuilt:
            (tmp_path / f"bench/bench_{name}.c").touch()
        for name, text in (scripts or {}).items():
            program(tmp_path / "bench" / name, text)
        targets = "\n".join(f"src/bench_{name}: c_LINKER" for name in built)
        program(tmp_path / "bin/ninja", f'[ "$3" != -t ] || echo "{targets}"')
        (tmp_path / "bench/smallest.tsv").write_text("# A comment.\n" + "".join("\t".join(line) + "\n" for line in smallest))
        tally = tmp_path / "tally.tsv"
        done = subprocess.run([tmp_path / "bench/run", "--smallest", "--tally", tally, *arguments], capture_output=True, text=True, timeout=120,
                              env=os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
        told = [line.split("\t") for line in tally.read_text().splitlines()] if tally.exists() else []
        return done.returncode, {name.removeprefix("bench "): f"{verdict} {why}".strip() for verdict, name, why in told}, done.stdout + done.stderr

    return run


def test_each_bench_that_prints_its_figures_passes(tree):
    status, told, out = tree({"good": PRINTS + "1.07"}, [("good", "1 2", LINES), ("whole", "--small", LINES)], scripts={"whole": PRINTS + "0.5"})
    assert (status, told) == (0, {"good": "passed", "whole": "passed"}), out


def test_the_size_of_the_table_is_given(tree):
    status, told, out = tree({"sized": 'echo "$# arguments, of which $2"'}, [("sized", "10 --rows", "2 arguments, of which --rows")])
    assert (status, told) == (0, {"sized": "passed"}), out


@pytest.mark.parametrize("script, why", [
    (PRINTS + "1; exit 3", "ended with 3: 12.5 pages/s, ratio 1"),
    ("echo no such key >&2; exit 1", "ended with 1: no such key"),
    ("kill -9 $$", "ended with 137"),
    ("true", "printed no figure as # pages/s"),
    ("echo '12.5 pages/s'", "printed no figure as ratio #"),
    (PRINTS + "nan", "printed no figure as ratio #"),
    (PRINTS + "-nan", "printed no figure as ratio #"),
    (PRINTS + "inf", "printed no figure as ratio #"),
    (PRINTS + "0.00", "printed no figure as ratio #"),
    ("echo '0 pages/s, ratio 1'", "printed no figure as # pages/s"),
])
def test_a_bench_that_breaks_or_has_no_figure_is_named(tree, script, why):
    status, told, out = tree({"bad": script, "good": PRINTS + "1"}, [("bad", "1", LINES), ("good", "1", LINES)])
    assert status == 1 and told["good"] == "passed", out
    assert told["bad"].startswith(f"failed {why}"), out
    assert "failed  bad: " + why in out


def test_a_bench_without_a_smallest_size_fails(tree):
    status, told, out = tree({"good": PRINTS + "1", "new": PRINTS + "1"}, [("good", "1", LINES)], scripts={"newer": PRINTS + "1"})
    assert status == 1 and told["good"] == "passed", out
    assert told["new"].startswith("failed bench/smallest.tsv does not say") and told["newer"].startswith("failed bench/smallest.tsv does not say")


def test_a_source_that_nothing_builds_and_a_line_of_nothing_fail(tree):
    status, told, out = tree({"good": PRINTS + "1"}, [("good", "1", LINES), ("lost", "1", LINES), ("gone", "1", LINES)], unbuilt=["lost"])
    assert status == 1 and told["good"] == "passed", out
    assert told["lost"] == "failed no meson.build builds bench/bench_lost.c"
    assert told["gone"].startswith("failed bench/smallest.tsv names it")


def test_only_what_is_named_runs(tree):
    status, told, out = tree({"good": PRINTS + "1", "bad": "exit 1"}, [("good", "1", LINES), ("bad", "1", LINES)], "good")
    assert (status, told) == (0, {"good": "passed"}), out

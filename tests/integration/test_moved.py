"""tests/lib/moved.py and sampler.py: what never takes a second value is named, unless somebody says why."""

import json
import pathlib
import subprocess
import sys

import pytest

LIB = pathlib.Path(__file__).resolve().parents[1] / "lib"
sys.path.insert(0, str(LIB))

import sampler  # noqa: E402

BEFORE = """# HELP souk_a_total Counts.
# TYPE souk_a_total counter
souk_a_total{source="x"} 0
souk_a_total{source="y"} 4
# TYPE souk_dead gauge
souk_dead{stage="decode"} 0
souk_dead{stage="store"} 1
# TYPE souk_h histogram
souk_h_bucket{le="+Inf"} 0
souk_h_sum 0
souk_h_count 0
"""


class Hub:
    """Answers as a hub does, and moves on when it was asked for its metrics."""

    def __init__(self):
        self.metrics, self.page = BEFORE, {"version": 1, "sources": [{"level": "green"}, {"level": "green"}], "queue": []}

    def ask(self, path):
        return self.metrics if path == "/metrics" else json.dumps(self.page)

    def query(self, sql):
        if "system.tables" in sql:
            return "bronze_x\tMergeTree\nv_x\tView"
        if "system.columns" in sql:
            return "ts\nconstant" if "bronze_x" in sql else "never"
        if "v_x" in sql:
            raise OSError("timeout")
        return "7\t11\t12\t5\t5"


def sampled(tmp_path, monkeypatch, change):
    monkeypatch.setenv("SOUK_MOVED", str(tmp_path / "moved.jsonl"))
    hub = Hub()
    watch = sampler.Sampler(hub.ask, hub.query)
    watch.sample()
    watch.start()
    watch.over.wait(0.2)
    change(hub)
    watch.end()
    watch.end()
    assert len((tmp_path / "moved.jsonl").read_text().splitlines()) == 1


def judge(tmp_path, still="", *more):
    (tmp_path / "still.tsv").write_text(still)
    return subprocess.run([sys.executable, LIB / "moved.py", tmp_path / "moved.jsonl", tmp_path / "still.tsv", *more],
                          capture_output=True, text=True, timeout=30)


def move_all(hub):
    hub.metrics = BEFORE.replace('"x"} 0', '"x"} 1').replace('_count 0', '_count 3').replace('"store"} 1', '"store"} 2')
    hub.page = {"version": 2, "sources": [{"level": "green"}, {"level": "red"}], "queue": [1]}


REST = "column\tbronze_x.constant\tone value by design\ncolumn\tv_x.never\ttoo slow for this test\n"


def test_what_stands_still_is_named_and_listed(tmp_path, monkeypatch):
    sampled(tmp_path, monkeypatch, lambda hub: None)
    done = judge(tmp_path)
    assert done.returncode == 1
    named = {line.split(": ")[1]: line.startswith("never moved") for line in done.stdout.splitlines() if "nobody says why" in line}
    # What lasts is surely still; the others may have moved between two looks.
    lasting = {"metric souk_a_total", "column bronze_x.constant", "column v_x.never"}
    assert named == dict.fromkeys(lasting, True) | dict.fromkeys(
        ("metric souk_dead", "metric souk_h", "status version", "status queue", "status sources[].level"), False)
    listed = judge(tmp_path, "", "--list").stdout
    assert "metric\tsouk_dead\t?\n" in listed and len(listed.splitlines()) == 8
    # The list is in the file's own format, but for the reasons, which somebody has to find.
    assert judge(tmp_path, listed).returncode == 1
    assert judge(tmp_path, listed.replace("\t?", "\tfor a reason")).returncode == 0
    surely = "".join(line + "\n" for line in listed.splitlines() if "\t".join(line.split("\t")[:2]).replace("\t", " ") in lasting)
    assert judge(tmp_path, surely.replace("\t?", "\tfor a reason")).returncode == 0


def test_what_moves_needs_no_reason_and_old_reasons_are_told(tmp_path, monkeypatch):
    sampled(tmp_path, monkeypatch, move_all)
    done = judge(tmp_path, REST)
    assert done.returncode == 0, done.stdout
    assert "metric: 3 of 3 moved" in done.stdout
    assert "column: 1 of 3 moved" in done.stdout
    done = judge(tmp_path, REST + "metric\tsouk_dead\tnot set yet\nmetric\tsouk_gone\tno longer there\n")
    assert done.returncode == 0
    assert "no need to explain metric souk_dead: it moves" in done.stdout
    assert "no need to explain metric souk_gone: it is no more" in done.stdout


def test_values_of_two_runs_are_compared_series_by_series(tmp_path):
    """A value of one stack and another of the next is a second value; two series that stand still are none."""
    lines = [{"metric": {"m": {'{a="1"}': [0], '{a="2"}': [1]}, "limit": {"": [5]}}, "status": {"s": ["a"]}, "column": {"t.c": ["1"]}},
             {"metric": {"m": {'{a="1"}': [0]}, "limit": {"": [6]}}, "status": {"s": ["b"]}, "column": {"t.c": ["2"]}}]
    (tmp_path / "moved.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = judge(tmp_path)
    assert [line for line in done.stdout.splitlines() if "nobody" in line] == \
        ["was never seen to move, and nobody says why: metric m"]


@pytest.mark.parametrize("still", ["metric souk_dead spaces are no tabs\n", "thing\tsouk_dead\tfor a reason\n", "metric\tsouk_dead\t?\n",
                                   "metric\ta\tfor a reason\nmetric\ta\tfor a reason\n"])
def test_a_list_without_reasons_is_refused(tmp_path, still):
    (tmp_path / "moved.jsonl").write_text(json.dumps({"metric": {"m": {"": [0, 1]}}}) + "\n")
    done = judge(tmp_path, still)
    assert done.returncode == 1 and "line" in done.stderr


def test_nothing_seen_is_a_failure(tmp_path):
    (tmp_path / "moved.jsonl").write_text("")
    assert judge(tmp_path).returncode == 1


def test_what_a_test_sees_itself_counts(tmp_path, monkeypatch):
    """Between two looks of the sampler something may move and be back."""
    def change(hub):
        before = hub.metrics, hub.page
        move_all(hub)
        watch.saw_metrics(hub.metrics)
        watch.saw_status(hub.page)
        hub.metrics, hub.page = before

    monkeypatch.setenv("SOUK_MOVED", str(tmp_path / "moved.jsonl"))
    hub = Hub()
    watch = sampler.Sampler(hub.ask, hub.query)
    watch.start()
    change(hub)
    watch.end()
    assert judge(tmp_path, REST).returncode == 0
    assert "metric: 3 of 3 moved" in judge(tmp_path, REST).stdout


def test_nothing_is_done_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("SOUK_MOVED", raising=False)
    hub = Hub()
    watch = sampler.Sampler(hub.ask, hub.query)
    watch.start()
    watch.end()
    assert watch.thread is None and not list(tmp_path.iterdir())

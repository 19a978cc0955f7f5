"""What a stack said while it ran, for tests/lib/moved.py: which metrics, status members and columns took a second value.

A stack starts a Sampler when souk is up and ends it before ClickHouse goes; in between /metrics and the
status are looked at every few seconds. At its end one line is appended to the file that SOUK_MOVED names:

  {"metric": {NAME: {LABELS: [VALUE, ...]}}, "status": {PATH: [VALUE, ...]}, "column": {"TABLE.COLUMN": [VALUE, ...]}}

Of everything at most two different values are kept: more say nothing more. A metric has the values of each of
its series, as two series that stand still at different values do not move. Places in arrays of the status are not
told apart, nor are values of a column. Without SOUK_MOVED nothing is done.
"""

import contextlib
import http.client
import json
import os
import re
import threading

import jsonl

EVERY_S = 3
ROWS_MAX = 100000  # Of a table; a column that moves does so early.
NO_ANSWER = (OSError, ValueError, http.client.HTTPException)
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$")


def keep(values, value):
    if len(values) < 2 and value not in values:
        values.append(value)


def add_metrics(text, series):
    """@series maps (family, labels) to values. Of histograms the count and the sum are series, buckets are not."""
    histograms = set(re.findall(r"(?m)^# TYPE (\S+) histogram$", text))
    for line in text.splitlines():
        if not (found := SAMPLE.match(line)):
            continue
        name, labels, value = found.groups()
        base, _, part = name.rpartition("_")
        if base in histograms:
            if part == "bucket":
                continue
            name, labels = base, f"{labels or ''}{part}"
        keep(series.setdefault((name, labels or ""), []), float(value))


def add_status(value, paths, path=""):
    """@paths maps a.b[].c to values; an empty array or object is a value of its own."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            add_status(inner, paths, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for inner in value:
            add_status(inner, paths, f"{path}[]")
    else:
        keep(paths.setdefault(path, []), value)


def column_values(query, database):
    """TABLE.COLUMN to a hash of its smallest and its largest value; of views too, which are a contract as well."""
    tables = query("SELECT name, engine FROM system.tables WHERE database = '%s' AND (engine LIKE '%%MergeTree' OR "
                   "engine = 'View') AND name NOT LIKE '.inner%%' ORDER BY name FORMAT TSV" % database)
    found = {}
    for line in tables.splitlines():
        table = line.split("\t")[0]
        names = query(f"SELECT name FROM system.columns WHERE database = '{database}' AND table = '{table}' "
                      "ORDER BY position FORMAT TSV").splitlines()
        hashes = ", ".join(f"min(ifNull(cityHash64(toString(`{n}`)), 0)), max(ifNull(cityHash64(toString(`{n}`)), 0))"
                           for n in names)
        found |= {f"{table}.{n}": [] for n in names}
        with contextlib.suppress(*NO_ANSWER):  # A view that takes too long on a loaded machine is not seen to move.
            answer = query(f"SELECT count(), {hashes} FROM (SELECT * FROM {database}.{table} LIMIT {ROWS_MAX}) "
                           "SETTINGS max_execution_time = 20 FORMAT TSV").split("\t")
            if int(answer[0]) > 0:
                for i, n in enumerate(names):
                    for value in answer[2 * i + 1:2 * i + 3]:
                        keep(found[f"{table}.{n}"], value)
    return found


class Sampler:
    """@ask(PATH) is the hub's answer, @query(SQL) ClickHouse's; both raise OSError when there is none."""

    def __init__(self, ask, query, database="poe_trade"):
        self.ask, self.query, self.database = ask, query, database
        self.file = os.environ.get("SOUK_MOVED")
        self.series, self.status = {}, {}
        self.lock, self.over, self.thread = threading.Lock(), threading.Event(), None

    def start(self):
        if self.file and not self.thread:
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()

    def run(self):
        self.sample()
        while not self.over.wait(EVERY_S):
            self.sample()

    def sample(self):
        with self.lock, contextlib.suppress(*NO_ANSWER):  # It may be stopped, or hurt, just now.
            add_metrics(self.ask("/metrics"), self.series)
            add_status(json.loads(self.ask("/api/v1/status")), self.status)

    def saw_metrics(self, text):
        """What a test asked for itself: often just when something moves. @return @text."""
        with self.lock:
            add_metrics(text, self.series)
        return text

    def saw_status(self, page):
        with self.lock:
            add_status(page, self.status)
        return page

    def look(self):
        """Before something is stopped: the next look would come too late."""
        if self.thread and not self.over.is_set():
            self.sample()

    def end(self):
        """To be called while what is to be asked still runs, and again in vain."""
        if not self.thread or self.over.is_set():
            return
        self.over.set()
        self.thread.join(30)
        self.sample()
        columns = {}
        with contextlib.suppress(*NO_ANSWER):
            columns = column_values(self.query, self.database)
        jsonl.append(self.file, {"metric": by_name(self.series), "status": self.status, "column": columns})


def by_name(series):
    """Series that are still add nothing to one that moves."""
    metric = {}
    for (name, labels), values in series.items():
        metric.setdefault(name, {})[labels] = values
    return {n: next(({k: v} for k, v in s.items() if len(v) > 1), s) for n, s in metric.items()}

"""Runs modules of pytest side by side, each in a process with a report, a log and ports of its own.

    beside.py --results DIR [--at-once N] [--env LABEL NAME=VALUE]... LABEL=MODULE...

Stacks of processes mostly wait, so several fit one core. A module is never split, as its tests share what they
started; the longest begin first. Of each module that has ended one block is printed: how long it took, how much
processor time it and its stack used, and what pytest said. For tests/lib/tally.py there is DIR/LABEL-MODULE.xml
each; a module that ends without a report is a line in DIR/own.tsv, and so a failed test.

SOUK_TEST_PORTS (FIRST-LAST; PORTS below unless set) is divided among those that run at the same time. SIGINT and
SIGTERM are passed on, so that nothing of a stack stays behind. Exit status: 0 when each module left a report or
that line.
"""

import argparse
import fcntl
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

PORTS = "20000-27999"  # Below those that the kernel gives to clients.
PORTS_MIN = 40  # Of one module.
LINES = 150  # Of the beginning and of the end of what a module said.
STACK_BYTES = 2 << 30  # What a module may need: up to three ClickHouse servers, and Chromium.

# Those that take more than a minute, the longest first; a module that is not named comes after them. It changes the
# time that all take together, and nothing else.
LONGEST = ("reliability-py/test_refusals", "reliability-py/test_network", "e2e/test_bad_input", "reliability-py/test_clock",
           "integration-py/test_verbs", "e2e/test_dashboard", "reliability-py/test_tape", "reliability-py/test_lanes",
           "reliability-py/test_sink", "reliability-py/test_schema", "e2e/test_refusals", "reliability-py/test_process",
           "e2e/test_supervision", "integration-py/test_alert_stream")

PROGRESS = re.compile(r"[.FEsxX]+ *\[ *\d+%\]$")


def at_once():
    """How many modules run at the same time on this machine."""
    text = pathlib.Path("/proc/meminfo").read_text()
    free = int(text.split("MemAvailable:")[1].split()[0]) * 1024
    return max(1, min(2 * len(os.sched_getaffinity(0)), free // STACK_BYTES))


def order(modules):
    """@modules (label, path), those of LONGEST first, the others as they came."""
    places = {name: i for i, name in enumerate(LONGEST)}
    return sorted(modules, key=lambda m: places.get(f"{m[0]}/{m[1].stem}", len(places)))


def port_ranges(n, wanted):
    """@wanted FIRST-LAST in @n parts that share no port."""
    first, last = map(int, wanted.split("-"))
    each = (last - first + 1) // n
    if each < PORTS_MIN:
        raise ValueError(f"{wanted}: too few ports for {n} modules at once, each wants {PORTS_MIN}")
    return [f"{first + i * each}-{first + (i + 1) * each - 1}" for i in range(n)]


class Module:
    """A running pytest."""

    def __init__(self, label, path, results, environment, ports):
        self.label, self.path, self.ports = label, path, ports
        self.name = f"{label}-{path.stem}"
        self.xml, self.log = results / f"{self.name}.xml", results / f"{self.name}.log"
        self.begun = time.monotonic()
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", f"--junitxml={self.xml}", str(path)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it through us alone, and so once.
                env=os.environ | environment | {"SOUK_TEST_PORTS": ports})

    def ended(self, status, used):
        """@return the block to print."""
        self.process.returncode = os.waitstatus_to_exitcode(status)  # Or it would be waited for again.
        lines = self.log.read_text(errors="replace").splitlines()
        kept = [line for line in lines if line.strip() and "generated xml file" not in line and not PROGRESS.match(line)]
        if len(kept) > 2 * LINES:
            kept[LINES:-LINES] = [f"[{len(kept) - 2 * LINES} lines left out; all are in {self.log}]"]
        head = f"== {self.label} {self.path.stem}: {time.monotonic() - self.begun:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processor"
        return "\n".join([head, *kept]) + "\n"


def show(results, block):
    """In one piece, whoever else prints."""
    with open(results / "print.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sys.stdout.write("\n" + block)
        sys.stdout.flush()


def run(modules, results, environments, n):
    """@return whether each module is accounted for."""
    waiting, running = order(modules), {}
    free = port_ranges(n, os.environ.get("SOUK_TEST_PORTS") or PORTS)
    stopping = []

    def stop(number, _frame):
        if stopping:
            return  # A second one would cut short what they clean up.
        stopping.append(number)
        for module in running.values():
            module.process.send_signal(signal.SIGINT)

    # Handled here, they are at their default in what is started, even when the shell ignored them for us.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    while (waiting and not stopping) or running:
        while waiting and free and not stopping:
            label, path = waiting.pop(0)
            module = Module(label, path, results, environments.get(label, {}), free.pop(0))
            running[module.process.pid] = module
            if stopping:  # Just now.
                module.process.send_signal(signal.SIGINT)
        pid, status, used = os.wait4(-1, 0)
        if (module := running.pop(pid, None)) is None:
            continue
        free.append(module.ports)
        show(results, module.ended(status, used))
        if not (module.xml.exists() and module.xml.stat().st_size):
            with open(results / "own.tsv", "a", encoding="utf-8") as out:
                out.write(f"failed\t{module.label} {module.path.stem}\tpytest ended with {module.process.returncode} and no report\n")
    return not stopping


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--at-once", type=int, default=0)
    parser.add_argument("--env", nargs=2, action="append", default=[], metavar=("LABEL", "NAME=VALUE"))
    parser.add_argument("modules", nargs="*")
    given = parser.parse_args(arguments)
    environments = {}
    for label, setting in given.env:
        name, _, value = setting.partition("=")
        environments.setdefault(label, {})[name] = value
    modules = [(label, pathlib.Path(path)) for label, _, path in (m.partition("=") for m in given.modules)]
    n = max(1, min(given.at_once or at_once(), len(modules)))
    return 0 if run(modules, given.results.resolve(), environments, n) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

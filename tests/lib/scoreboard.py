"""Prints the reliability scoreboard: one table from the lines that score.h and score.py wrote.

    scoreboard.py FILE [--case N]...

A case of which nothing was run has its line too: "not shown". Several lines of a case are one row
(sums; the longest recovery; failed if any failed) with a line of detail for each below it. Exit status:
0 when no line says failed, 1 otherwise.
"""

import json
import sys

CASES = {  # In our own words; tests/reliability/README.md says more.
    1: "kill -9 at random moments", 2: "kill between any two system calls of the write path",
    3: "power cut: unsynced pages lost, torn, reordered", 4: "fsync fails once, and twice",
    5: "disk full, then freed", 6: "one bit flipped in a closed segment",
    7: "segment cut, zeroed, gone, doubled, swapped", 8: "stale bytes in preallocated space",
    9: "store read-only or missing; second instance", 10: "fsync takes 5 s",
    11: "SIGTERM under load, sink up and down", 12: "restart loop while limits are enforced",
    13: "limits from headers, three times the load", 14: "limit halved, doubled, renamed",
    15: "Retry-After in every shape", 16: "429 to everything for 10 min", 17: "another client eats half the budget",
    18: "limiter by wall minutes, its clock off", 19: "escalating ban armed for a day", 20: "permanent 4xx on one endpoint",
    22: "one class of work floods", 29: "empty page for an hour; cursor repeats, goes back",
    30: "200 with HTML, or with {}",
    38: "burst of 100,000 messages/s on one stream", 39: "ClickHouse away at 2,000 rows/s",
    40: "insert applied, reply lost", 41: "time-out, then late success; overlapping retry",
    42: "partial insert, then an error", 43: "ClickHouse out of room: parts, memory, 5xx",
    44: "deduplication window forgotten", 45: "one poison row in a batch",
    46: "column added, removed, changed on the server", 47: "hostile JSON", 48: "impossible market data",
    49: "every parser fuzzed", 50: "every allocation fails once",
    51: "wall clock -1 h, +1 h, +10 y, wrong from the start", 52: "the process stopped for a while",
    53: "64 descriptors, 64 MiB, a tenth of a processor", 54: "the network loses, delays, is narrow, is cut in two",
}
MORE = {21: "ClickHouse refuses the password"}  # Shown by some program, without a line of their own otherwise.
PASSED, FAILED, NOT_APPLICABLE, NOT_SHOWN = "passed", "FAILED", "does not apply", "not shown"


def read(path):
    """The lines by case; a line that is none counts as a failure of case 0, not as nothing."""
    found = {}
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                score = json.loads(line)
                found.setdefault(int(score["case"]), []).append(score)
            except (ValueError, KeyError, TypeError):
                found.setdefault(0, []).append({"what": f"unreadable line: {line.strip()[:60]}", "passed": False})
    return found


def result_of(scores):
    if not scores:
        return NOT_SHOWN
    if any(s["passed"] is False for s in scores):
        return FAILED
    return PASSED if any(s["passed"] for s in scores) else NOT_APPLICABLE


def number(n):
    return f"{n:,}" if n else "-"


def row(number_text, name, what, scores, result):
    def total(key):
        return sum(int(s.get(key) or 0) for s in scores)
    recovery = max([float(s.get("recovery_s") or -1) for s in scores], default=-1)
    return [number_text, name, what, number(total("kills")), number(total("seeds")), number(total("rows")),
            str(total("lost")) if scores else "-", str(total("twice")) if scores else "-",
            f"{recovery:.2f}" if recovery >= 0 else "-", result]


def table(found, wanted):
    """The rows to print, and how many cases ended how."""
    counts = {PASSED: 0, FAILED: 0, NOT_APPLICABLE: 0, NOT_SHOWN: 0}
    rows = []
    for case in sorted(set(wanted) | set(found)):
        scores = found.get(case, [])
        result = result_of(scores)
        counts[result] += 1
        what = scores[0]["what"] if len(scores) == 1 else f"{len(scores)} parts" if scores else ""
        rows.append(row(str(case), (CASES | MORE).get(case, "?"), what, scores, result))
        if len(scores) > 1:
            rows += [row("", "", s["what"], [s], result_of([s])) for s in scores]
    return rows, counts


def details(found):
    for case in sorted(found):
        for s in found[case]:
            if s.get("detail"):
                yield f"{case}: {s['what']}: {s['detail']}"


def print_table(rows):
    heads = ["#", "case", "what was done", "kills", "seeds", "rows", "lost", "twice", "recovery s", "result"]
    rows = [heads] + [[cell if len(cell) <= 62 else cell[:61] + "…" for cell in r] for r in rows]
    widths = [max(len(r[i]) for r in rows) for i in range(len(heads))]
    for r in rows:
        print("  ".join(cell.rjust(w) if i in (0, 3, 4, 5, 6, 7, 8) else cell.ljust(w)
                        for i, (cell, w) in enumerate(zip(r, widths, strict=True))).rstrip())


def main(arguments):
    path = arguments[0]
    wanted = [int(value) for flag, value in zip(arguments[1::2], arguments[2::2], strict=True) if flag == "--case"]
    found = read(path)
    rows, counts = table(found, wanted or list(CASES))
    print_table(rows)
    if lines := list(details(found)):
        print("\nfigures:\n  " + "\n  ".join(lines))
    lost, twice = (sum(int(s.get(k) or 0) for scores in found.values() for s in scores) for k in ("lost", "twice"))
    n_rows, kills = (sum(int(s.get(k) or 0) for scores in found.values() for s in scores) for k in ("rows", "kills"))
    print(f"\n{counts[PASSED]} cases passed, {counts[FAILED]} failed, {counts[NOT_APPLICABLE]} do not apply, "
          f"{counts[NOT_SHOWN]} not shown; {lost} lost / {twice} twice in {n_rows:,} rows, {kills:,} kills")
    return 1 if counts[FAILED] else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))

"""Finds what never takes a second value in all of the suites: a gauge that nobody sets looks as healthy as one that is 0.

Usage: moved.py MOVED.jsonl STILL.tsv [--list]

The first file is what tests/lib/sampler.py and tests/lib/moved.h wrote; the second names what may stand still
and why: KIND, NAME and WHY, with tabs between. Every metric, status member and column that stood still has to
be in it; --list prints what is not, in the file's own format and with ? for the reason, to be looked into: is
it dead, does a test have to move it, or is there a reason? Entries of what moves, or is no more, are told, and
are no failure: some things move by chance. Nor is a gauge or a member of the status that is in no entry, as it may
have moved between two looks; a counter keeps what it counted and a column what was stored, so these are. A reason with "to do:" is a debt: how many there are is told each time.

Exit status: 0 when all that surely stands still is explained, 1 when not, or when nothing was seen at all.
"""

import json
import sys

KINDS = ("metric", "status", "column")


def merge(lines):
    """KIND to NAME to whether it moved. @lines are records of samplers."""
    seen = {kind: {} for kind in KINDS}
    for line in lines:
        record = json.loads(line)
        for name, series in record.get("metric", {}).items():
            for labels, values in series.items():
                seen["metric"].setdefault(name, {}).setdefault(labels, set()).update(map(json.dumps, values))
        for kind in ("status", "column"):
            for name, values in record.get(kind, {}).items():
                seen[kind].setdefault(name, {}).setdefault("", set()).update(map(json.dumps, values))
    moved = {kind: {name: any(len(values) > 1 for values in all_of.values()) for name, all_of in names.items()}
             for kind, names in seen.items()}
    # An array or object that was empty, or null, once and filled at another time: its members speak for it.
    status = moved["status"]
    filled = {name[:at] for name in status for at, letter in enumerate(name) if letter in ".["}
    for name in filled & set(status):
        del status[name]
        if f"{name}[]" in status:
            status[f"{name}[]"] = True
    return moved


def read_still(lines):
    """(KIND, NAME) to the reason. @raise ValueError with what is wrong."""
    still = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.rstrip("\n").split("\t")
        if len(fields) != 3 or fields[0] not in KINDS or len(fields[2].split()) < 2:
            raise ValueError(f"line {number}: wants one of {', '.join(KINDS)}, a name and a reason in words, with tabs between")
        if (fields[0], fields[1]) in still:
            raise ValueError(f"line {number}: {fields[1]} is there twice")
        still[fields[0], fields[1]] = fields[2]
    return still


def lasts(kind, name):
    """Whether a look at the end shows that it has moved."""
    return kind == "column" or (kind == "metric" and name.endswith(("_total", "_bucket", "_count", "_sum")))


def main(arguments):
    listing = "--list" in arguments
    moved_file, still_file = [a for a in arguments if a != "--list"]
    with open(moved_file, encoding="utf-8") as lines:
        seen = merge(lines)
    with open(still_file, encoding="utf-8") as lines:
        still = read_still(lines)
    unexplained = [(kind, name) for kind in KINDS for name, moves in sorted(seen[kind].items())
                   if not moves and (kind, name) not in still]
    if listing:
        for kind, name in unexplained:
            print(kind, name, "?", sep="\t")
        return 0
    for kind, name in still:
        if seen[kind].get(name, True):
            print(f"no need to explain {kind} {name}: it {'moves' if name in seen[kind] else 'is no more'}")
    for kind, name in unexplained:
        how = "never moved" if lasts(kind, name) else "was never seen to move"
        print(f"{how}, and nobody says why: {kind} {name}")
    owed = sum("to do:" in why for why in still.values())
    if owed:
        print(f"{owed} of {len(still)} reasons are a debt (to do:)")
    empty = [kind for kind in KINDS if not seen[kind]]
    if empty:
        print(f"nothing was seen of any {' and of any '.join(empty)}")
    print(*(f"{kind}: {sum(seen[kind].values())} of {len(seen[kind])} moved" for kind in KINDS), sep=", ")
    return 1 if empty or any(lasts(*entry) for entry in unexplained) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.exit(f"moved.py: {error}")

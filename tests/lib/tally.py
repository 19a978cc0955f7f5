"""Adds up what the suites of tests/run did, and says it in one line.

Reads Meson's testlog.json files (one JSON object a line) and pytest's JUnit XML files, prints each
skipped and each failed test with its reason, and ends with "N passed, N failed, N skipped". A cmocka
program counts as the test cases it printed; a program that prints none counts as one test.

A skip has to be explained, or it is a failure. There are two explanations:

  - The test wants recorded data, and says so (NO_DATA, of tests/lib/data_dir.h). It stands where
    there is none (--bare), or in the suite "bare X", which runs the programs of suite "unit X" a
    second time with the data hidden, when the same test passed in "unit X". These are one line.
  - It says what this machine lacks or this souk has not (LACKS).

Exit status: 0 when something ran and nothing failed, 1 otherwise.
"""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree

CASE = re.compile(r"^\[\s*(OK|FAILED|ERROR|SKIPPED)\s*\]\s+(\S.*)$")
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
NO_DATA = "no recorded data at "
LACKS = re.compile(
    r"(is|are) not installed$"
    r"|^strace may not trace here"
    r"|^no file system can be mounted here"
    r"|^souk has no streaming venue yet"
    r"|^only of the embedded server$"
    r"|^no program here shows case "
)
VERDICT = {"OK": PASSED, "EXPECTEDFAIL": PASSED, "SKIP": SKIPPED}


def last_words(text, limit=200):
    """The last line that says something, which is where a skip or a failure gives its reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:limit] if lines else "no reason given"


def cmocka_cases(output):
    """Yields (verdict, case, reason) for each case that a cmocka program reported, each case once."""
    said, summing_up = "", False
    for line in output.splitlines():
        line = line.strip()
        if re.match(r"\[=+\] .*Running", line):
            summing_up = False
        elif re.match(r"\[\s*[A-Z]+\s*\] \d+ test\(s\)", line):
            summing_up = True  # The cases listed from here on have been reported above.
        found = CASE.match(line)
        if not found:
            if line and not line.startswith("["):
                said = line
            continue
        word, case = found.groups()
        if case.startswith("---"):
            said = case.strip("- ")
            continue
        if not summing_up:
            yield {"OK": PASSED, "SKIPPED": SKIPPED}.get(word, FAILED), case, said[:200]
        said = ""


def from_meson(label, path):
    """Yields (verdict, name, reason) for each test of one testlog.json."""
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            run = json.loads(line)
            output = (run.get("stdout") or "") + "\n" + (run.get("stderr") or "")
            name = f"{label} {run['name']}"
            verdict = VERDICT.get(run["result"], FAILED)
            cases = list(cmocka_cases(output))
            for case_verdict, case, reason in cases:
                yield case_verdict, f"{name}: {case}", reason
            if verdict == FAILED and not any(case[0] == FAILED for case in cases):
                yield FAILED, name, f"{run['result'].lower()}, exit {run.get('returncode')}: {last_words(output)}"
            elif not cases:
                yield verdict, name, last_words(output) if verdict == SKIPPED else ""


def from_junit(label, path):
    """Yields (verdict, name, reason) for each test case of one JUnit file."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{label} {case.get('classname', '').split('.')[-1]}: {case.get('name')}"
        failure = case.find("failure")
        if failure is None:
            failure = case.find("error")
        skipped = case.find("skipped")
        if failure is not None:
            yield FAILED, name, (failure.get("message") or "").splitlines()[0][:200] if failure.get("message") else ""
        elif skipped is not None:
            reason = skipped.get("message") or ""
            if reason == "collection skipped":  # A whole file, whose reason is the last of a tuple that is printed.
                reason = (skipped.text or "").partition("Skipped: ")[2].rstrip("'\")")
            yield SKIPPED, name, reason
        else:
            yield PASSED, name, ""


def from_lines(_label, path):
    """Yields from a plain file of "verdict<TAB>name<TAB>reason" lines, which tests/run writes itself."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield tuple((line.rstrip("\n").split("\t") + ["", ""])[:3])


def explain(name, reason, passed, bare):
    """Why the test @name may have been skipped: NO_DATA, LACKS, or None."""
    if reason.startswith(NO_DATA):
        with_data = re.sub(r"^bare ", "unit ", name)
        return NO_DATA if bare or (with_data != name and with_data in passed) else None
    return LACKS if LACKS.search(reason) else None


def main(arguments):
    counts = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    notes = {FAILED: [], SKIPPED: []}
    passed, skips, without_data = set(), [], []
    bare = "--bare" in arguments
    for argument in arguments:
        if argument == "--bare":
            continue
        label, _, path = argument.partition("=")
        read = from_junit if path.endswith(".xml") else from_lines if path.endswith(".tsv") else from_meson
        for verdict, name, reason in read(label, path):
            if verdict == SKIPPED:
                skips.append((name, reason))
                continue
            counts[verdict] += 1
            if verdict == PASSED:
                passed.add(name)
            else:
                notes[FAILED].append(f"failed: {name}" + (f": {reason}" if reason else ""))
    for name, reason in skips:
        why = explain(name, reason, passed, bare)
        counts[SKIPPED if why else FAILED] += 1
        if why is NO_DATA:
            without_data.append(re.sub(r": [^:]*$", "", name).split(" ")[-1])
        elif why:
            notes[SKIPPED].append(f"skipped: {name}: {reason}")
        else:
            notes[FAILED].append(f"failed: {name}: skipped, which nothing explains: {reason or 'no reason given'}")
    if without_data:
        why = "of which there is none here" if bare else "which passed with it"
        print(f"skipped: {len(without_data)} tests of recorded data, {why}; of {', '.join(sorted(set(without_data)))}")
    for line in notes[SKIPPED] + notes[FAILED]:
        print(line)
    print(f"{counts[PASSED]} passed, {counts[FAILED]} failed, {counts[SKIPPED]} skipped")
    return 0 if counts[FAILED] == 0 and counts[PASSED] > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

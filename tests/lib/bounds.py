"""The table "Bounds" of src/README.md: what strangers may fill, and what happens when it is full.

usage: bounds.py SOURCE_DIR

Each row names a bound that the source defines with that number, a metric that the source has, and a test that
exists: in C it is in the list of its program, in Python pytest finds it by its name. Fails on the first that does not.
"""

import pathlib
import re
import sys

HEADS = ["what", "who fills it", "bound", "when it is full", "metric", "test"]
ROWS_MIN = 20  # Fewer are not the whole table.


def rows(readme):
    section = re.search(r"(?ms)^## Bounds\n(.*?)(?=^## |\Z)", readme)
    lines = [line for line in (section.group(1) if section else "").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(cells) >= ROWS_MIN + 2 and cells[0] == HEADS, "src/README.md has no table of bounds"
    return cells[2:]


def number(text):
    """@return what a #define or enum says, as far as it is plain: 65535u, ((size_t)32 << 20), 24 * 3600."""
    plain = re.sub(r"\(size_t\)|INT64_C|(?<=\d)[uUlL]+", "", text)
    if not re.fullmatch(r"[\d\s()<*+]+", plain):
        return None
    try:
        return eval(plain)  # pylint: disable=eval-used
    except SyntaxError:  # A use of the name, not its definition.
        return None


def check(top, row, code):
    what, _, bound, full, metrics, tests = row
    problems = [] if what and full else ["says nothing"]
    names = re.findall(r"`(\w+)`", bound)
    if not names:
        problems.append("names no bound")
    for name, said in zip(names, re.findall(r"`\w+` ([\d,]+)", bound) or [""] * len(names)):
        found = {number(m) for m in re.findall(rf"\b{name}\b(?:\s*=)?[ \t]+([^,/\n]+?)\s*(?:/\*|,|}}|\n)", code)} - {None}
        if not re.search(rf"\b{name}\b", code):
            problems.append(f"there is no {name}")
        if said and found and int(said.replace(",", "")) not in found:
            problems.append(f"{name} is {found}")
    for kind, found in (("metric", re.findall(r"`(souk_\w+)`", metrics)), ("test", re.findall(r"`(test_\w+\.(?:c|py)):", tests))):
        if not found:
            problems.append(f"names no {kind}")
    for metric in re.findall(r"`(souk_\w+)`", metrics):
        if not re.search(rf"\b{metric}\b", code):
            problems.append(f"there is no {metric}")
    for file, test in re.findall(r"`(test_\w+\.(?:c|py)):(test_\w+)`", tests):
        paths = list((top / "tests").glob(f"*/{file}"))
        text = paths[0].read_text() if paths else ""
        wanted = rf"\b{test}[,)]" if file.endswith(".c") else rf"(?m)^def {test}\("
        if not re.search(wanted, text):
            problems.append(f"there is no {test} in {file}")
    return [f"{what}: {problem}" for problem in problems]


def main():
    top = pathlib.Path(sys.argv[1])
    files = [p for folder in ("src", "include") for p in (top / folder).rglob("*.[ch]") if p.parent.name != "sim"]
    code = "\n".join(p.read_text() for p in files)
    problems = [p for row in rows((top / "src/README.md").read_text()) for p in check(top, row, code)]
    print("\n".join(problems) or "all rows hold")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""The walls between rooms: a room links whole with the rooms that it may use, and with no call to another.

usage: walls.py BUILD README [COMPILER-WORD...]

For each room two links, of its whole archive and the archives of the rooms that it may use: as it is, which
must succeed, as no symbol may be missing; and with a call into every other room put into it, which must fail
on each of these calls. Which rooms there are, src/README.md says: one that is not here fails the test.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

# What each room may use; what these use is within reach as well.
MAY_USE = {
    "core": "",
    "config": "core",
    "governor": "core",
    "http": "core",
    "spool": "core",
    "currency": "core",
    "decode": "core",
    "quality": "core",
    "vendors": "core currency decode quality",
    "tape": "core currency",
    "pipeline": "vendors governor http spool tape",
    "store": "core spool",
    "schema": "core store",
    "audit": "core spool pipeline store schema",
    "replay": "core decode vendors pipeline spool store schema",
    "alerts": "core",
    "guard": "core alerts",
    "web": "core",
    "hub": "core alerts web",
    "throttle": "governor http pipeline hub",
}
PROGRAMS = ("streams", "service", "cli", "clickhouse", "sim", "ui/dashboard")  # Not used by rooms.
LIBRARIES = ("ck uv curl yyjson cyaml yaml h2o wslay ssl crypto z zstd lz4 xxhash pthread dl util m").split()


def archive(build, room):
    return build / "src" / room / f"lib{room}.a"


def reach(room):
    found = set()
    for used in MAY_USE[room].split():
        found |= {used} | reach(used)
    return found


def functions(path):
    out = subprocess.run(["nm", "--defined-only", "-g", path], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?m)^[0-9a-f]+ T (\w+)$", out))


def link(compiler, build, room, objects, scratch):
    """@return the linker's words, "" when it links."""
    used = [str(archive(build, name)) for name in sorted(reach(room))] + [str(p) for p in build.glob("subprojects/ch-native/lib*.a")
                                                                         if room == "store" or "store" in reach(room)]
    command = [*compiler, "-o", str(scratch / "linked"), str(scratch / "main.o"), "-Wl,--whole-archive", str(archive(build, room)),
               "-Wl,--no-whole-archive", *objects, "-Wl,--start-group", *used, "-Wl,--end-group", *(f"-l{name}" for name in LIBRARIES),
               "-Wl,--no-demangle"]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr


def main(build, readme, *compiler):
    build, bad, missing = pathlib.Path(build), [], re.compile(r"undefined (?:reference to|symbol:) [`']?(\w+)")
    listed = [re.sub(r"[` ]|\(.*\)", "", row) for row in re.findall(r"(?m)^\| (`[^|]*) \|", pathlib.Path(readme).read_text())]
    here = set(MAY_USE)
    bad += [f"{room} is in src/README.md and has no wall here" for room in sorted(set(listed) - here - set(PROGRAMS))]
    bad += [f"{room} is not in src/README.md" for room in sorted(here - set(listed))]
    own = {room: functions(archive(build, room)) for room in MAY_USE}
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        (scratch / "main.c").write_text("int main(void) { return 0; }\n")
        subprocess.run([*compiler, "-c", "-o", scratch / "main.o", scratch / "main.c"], check=True)
        calls = {}
        for room, names in own.items():
            others = set().union(*(found for name, found in own.items() if name != room))
            calls[room] = sorted(names - others)[0]
            (scratch / f"{room}.c").write_text(f"void {calls[room]}(void);\nvoid call_{room}(void);\n"
                                               f"void call_{room}(void) {{ {calls[room]}(); }}\n")
            subprocess.run([*compiler, "-w", "-c", "-o", scratch / f"{room}.o", scratch / f"{room}.c"], check=True)
        for room in MAY_USE:
            said = link(compiler, build, room, [], scratch)
            if said:
                bad.append(f"{room} does not link with {MAY_USE[room] or 'nothing'} alone: "
                           + (", ".join(sorted(set(missing.findall(said)))[:5]) or said[-600:]))
                continue
            closed = sorted(set(MAY_USE) - reach(room) - {room})
            found = set(missing.findall(link(compiler, build, room, [str(scratch / f"{name}.o") for name in closed], scratch)))
            bad += [f"{room} may call {name} ({calls[name]}): it links" for name in closed if calls[name] not in found]
            print(f"{room}: {len(closed)} walls")
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""What the build hardens in each program, read from its ELF: position independent, all addresses bound at the
start and read-only from then on, no executable stack, guarded frames; with optimization and without a
sanitizer also FORTIFY.

usage: hardened.py [--release] PROGRAM...
"""

import re
import subprocess
import sys


def read(option, program):
    return subprocess.run(["readelf", "-W", option, program], capture_output=True, text=True, check=True).stdout


def lacks(program, release):
    header, segments, dynamic, symbols = (read(option, program) for option in ("-h", "-l", "-d", "--dyn-syms"))
    stack = re.search(r"GNU_STACK\s.*", segments)
    wanted = {
        "PIE": re.search(r"Type:\s+DYN", header) and "PIE" in dynamic,
        "relro": "GNU_RELRO" in segments,
        "now": "NOW" in dynamic,
        "a stack that is no code": stack and "RWE" not in stack.group(0),
        "stack protector": "__stack_chk_fail" in symbols,
    }
    if release:
        wanted["FORTIFY"] = re.search(r"__\w+_chk@", symbols.replace("__stack_chk_fail", ""))
    return [f"{program}: no {name}" for name, there in wanted.items() if not there]


def main(arguments):
    release = arguments[:1] == ["--release"]
    bad = [line for program in arguments[release:] for line in lacks(program, release)]
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Lines of JSON in a file that several processes append to at the same time."""

import json
import os


def append(path, record):
    """One write of a whole line, which the kernel puts behind all others; a buffer might make two of a long one."""
    line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.write(fd, line) != len(line):
            raise OSError(f"{path}: no room for a line")
    finally:
        os.close(fd)

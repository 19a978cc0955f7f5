"""One line of the reliability scoreboard from Python, as score.h writes it from C.

A line goes to the file that SOUK_SCORE names; nothing is written without it. A case that raises has
failed and says so; one that was skipped leaves no line, which the scoreboard shows as "not shown".
"""

import contextlib
import dataclasses
import os

import jsonl
import pytest


def full():
    """Whether the numbers of the scoreboard are wanted, not those of each commit."""
    return os.environ.get("SOUK_FULL", "")[:1] == "1"


def times(per_commit, of_table):
    return of_table if full() else per_commit


@dataclasses.dataclass
class Score:
    case: int
    what: str
    passed: bool | None = False  # None: does not apply.
    kills: int = 0
    seeds: int = 0
    rows: int = 0
    lost: int = 0
    twice: int = 0
    recovery_s: float = -1.0  # The longest; negative when there is none.
    detail: str = ""

    def recovered(self, seconds):
        self.recovery_s = max(self.recovery_s, seconds)

    def write(self):
        if path := os.environ.get("SOUK_SCORE"):
            line = dataclasses.asdict(self) | {"recovery_s": round(self.recovery_s, 3), "full": full()}
            jsonl.append(path, line)


@contextlib.contextmanager
def case(number, what):
    """The score of a case, to be filled in; written when the block ends, as passed unless it raised."""
    score = Score(number, what)
    try:
        yield score
        score.passed = True
    except pytest.skip.Exception:
        score = None
        raise
    finally:
        if score is not None:
            score.write()


def does_not_apply(number, why):
    Score(number, why, passed=None).write()

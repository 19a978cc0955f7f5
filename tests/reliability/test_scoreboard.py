"""The scoreboard says what was run, what failed and what was not shown."""

import json

import score
import scoreboard


def board(tmp_path, capsys, lines, *arguments):
    path = tmp_path / "score.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    status = scoreboard.main([str(path), *arguments])
    return status, capsys.readouterr().out


def line(case, **more):
    return json.dumps({"case": case, "what": "w", "passed": True, "kills": 2, "seeds": 1, "rows": 1000, "lost": 0, "twice": 0,
                       "recovery_s": 0.5} | more)


def row_of(text, case):
    return next(r for r in text.splitlines() if r.split()[:1] == [str(case)])


def test_lines_of_a_case_are_summed_and_the_worst_recovery_counts(tmp_path, capsys):
    status, text = board(tmp_path, capsys, [line(1), line(1, recovery_s=2.25), line(40)])
    assert status == 0
    assert row_of(text, 1).split()[-7:] == ["4", "2", "2,000", "0", "0", "2.25", "passed"]
    assert row_of(text, 40).endswith("passed")
    assert "0 lost / 0 twice in 3,000 rows, 6 kills" in text


def test_what_was_not_run_is_not_shown(tmp_path, capsys):
    status, text = board(tmp_path, capsys, [line(1)])
    assert status == 0
    assert row_of(text, 12).endswith("not shown") and row_of(text, 50).endswith("not shown")
    assert f"1 cases passed, 0 failed, 0 do not apply, {len(scoreboard.CASES) - 1} not shown" in text


def test_one_failure_fails_the_case_and_the_board(tmp_path, capsys):
    status, text = board(tmp_path, capsys, [line(2), line(2, passed=False, lost=3)])
    assert status == 1
    assert row_of(text, 2).endswith("FAILED") and "3 lost" in text


def test_an_unreadable_line_is_a_failure(tmp_path, capsys):
    assert board(tmp_path, capsys, [line(1), "{half"])[0] == 1


def test_only_chosen_cases_are_listed(tmp_path, capsys):
    _, text = board(tmp_path, capsys, [line(40)], "--case", "40")
    assert row_of(text, 40) and "not shown" not in text.split("\n\n")[0]


def test_a_case_that_raises_has_failed_and_one_that_does_not_apply_says_so(tmp_path, monkeypatch):
    path = tmp_path / "score.jsonl"
    monkeypatch.setenv("SOUK_SCORE", str(path))
    try:
        with score.case(4, "it raises") as s:
            s.rows = 7
            raise ValueError
    except ValueError:
        pass
    score.does_not_apply(38, "no streams")
    with score.case(5, "it passes"):
        pass
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert [(r["case"], r["passed"]) for r in lines] == [(4, False), (38, None), (5, True)]
    assert lines[0]["rows"] == 7

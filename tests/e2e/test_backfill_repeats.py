"""A backfill over what was fetched already: its rows are there again, and the audit tells them from rows stored twice."""

import json
import time

from stacks import run_souk, stack_of, until


def backfill(stack, *arguments, code=0):
    done = run_souk("--json", "backfill", *arguments, config=stack.config_file, seconds=120)
    assert done.returncode == code, done.stdout + done.stderr + stack.tail("souk")
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_fetched_again_is_not_twice(tmp_path):
    now = int(time.time()) // 3600 * 3600
    with stack_of(tmp_path, start=False) as stack:
        stack.configure({"sources": {"currency_exchange": {"enabled": True, "base_url": f"http://127.0.0.1:{stack.sim}/api", "realms": ["pc"],
                                                           "late_s": 1, "rate_per_s": 1, "start": str(now - 4 * 3600)}}})
        stack.start_all("--cx-history", "6", "--cx-late", "0")
        hours = "SELECT count(), uniqExact(lsn) FROM bronze_exchange_events WHERE toUnixTimestamp(toDateTime(hour_ts)) = {}"
        until("the hours are there", 60, lambda: stack.query(hours.format(now - 2 * 3600)).split("\t")[1] == "1", lambda: stack.tail("souk"))
        until("there is a past", 60, lambda: stack.count("raw_public_stash_pages") > 5, lambda: stack.tail("souk"))
        before = int(stack.query(hours.format(now - 2 * 3600)).split("\t")[0])
        report = backfill(stack, "currency_exchange", "--from", str(now - 4 * 3600), "--to", str(now - 2 * 3600), "--budget", "5")
        assert report["pages"] == 2
        first, last = stack.query("SELECT min(cursor), max(next_cursor) FROM (SELECT cursor, next_cursor FROM raw_public_stash_pages "
                                  "WHERE cursor != '' ORDER BY lsn LIMIT 3)").split("\t")
        assert backfill(stack, "psapi", "--from", first, "--to", last, "--budget", "10")["pages"] >= 3
        until("they are there again", 60, lambda: stack.query(hours.format(now - 2 * 3600)) == f"{2 * before}\t2",
              lambda: stack.tail("souk"))
        until("their checkpoints are", 90, lambda: stack.count("bronze_ingest_checkpoints", "service LIKE '%_backfill' AND status = 'ok'") >= 5)
        stack.is_clean()
        # Two days ago there was nothing: one look at a day of hours, and that is said.
        report = backfill(stack, "currency_exchange", "--from", str(now - 60 * 3600), "--to", str(now - 2 * 3600), "--budget", "10", "--verify",
                          code=1)
        assert (report["state"], report["requests"], report["pages"]) == ("too_old", 24, 0), report
        assert f"upstream has nothing so old: no hour of the 24 from {now - 59 * 3600} on" in report["last_error"], report
        # A row of a page that nothing fetched again is twice when it is.
        stack.query("INSERT INTO bronze_exchange_events SELECT * REPLACE (0 AS lsn) FROM bronze_exchange_events "
                    f"WHERE toUnixTimestamp(toDateTime(hour_ts)) = {now - 3600} LIMIT 1")
        found = stack.audit()
        assert found.returncode == 1 and " lost, 1 twice, 0 unknown" in found.stdout, found.stdout + found.stderr

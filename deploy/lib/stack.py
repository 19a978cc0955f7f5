"""What deploy/quickstart asks of a running stack: souk's status page, ClickHouse and the simulator.

    stack.py config FROM TO NAME=VALUE...   FROM with ${NAME:-default} of these names filled in, and
                                            the line of key NAME, commented out or not, if it is lower case
    stack.py table HUB CLICKHOUSE           a short table of what has arrived, and the counts
    stack.py line HUB                       the same in one line
    stack.py arrived HUB CLICKHOUSE [any]   exit 0 once every stream (any: one of each source) was answered
                                            and every table has rows
    stack.py drained HUB                    exit 0 once all that was fetched is stored
    stack.py freeze SIM                     no new data from the simulator
    stack.py violations SIM                 exit 0 if no limit was broken

HUB, CLICKHOUSE and SIM are ports on 127.0.0.1. Reasons for a non-zero exit go to standard output.
"""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

DATABASE = "poe_trade"
TABLES = ["bronze_public_stash", "bronze_poeninja_snapshot", "bronze_ingest_checkpoints", "bronze_requests",
          "raw_public_stash_pages"]
ROWS_OF = {"psapi": "bronze_public_stash", "poe_ninja": "bronze_poeninja_snapshot"}


def fetch(port, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        return answer.read().decode("utf-8", "replace")


def status(hub):
    return json.loads(fetch(hub, "/api/v1/status"))


def counts(clickhouse):
    """Rows of each table; None for a table that is not there."""
    held = {}
    for table in TABLES:
        try:
            held[table] = int(fetch(clickhouse, "/", f"SELECT count() FROM {DATABASE}.{table}".encode()))
        except (urllib.error.HTTPError, ValueError):
            held[table] = None
    return held


def age(then_ms, now_ms):
    if not then_ms:
        return "never"
    seconds = max(0, now_ms - then_ms) / 1000
    if seconds < 10:
        return f"{seconds:.1f} s ago"
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def size(n_bytes):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024 or unit == "GiB":
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024


def number(value):
    return "-" if value is None else f"{value:,}"


def enabled(page):
    return [source for source in page["sources"] if source["state"] != "off"]


def config(template, target, settings):
    values = dict(setting.partition("=")[::2] for setting in settings)
    used = set()

    def fill(found):
        used.add(found.group(1))
        return values.get(found.group(1), found.group(0))

    with open(template, encoding="utf-8") as source:
        text = re.sub(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}", fill, source.read())
    for key in filter(str.islower, values):
        text, n_lines = re.subn(rf"(?m)^(\s*)(?:# )?{key}:.*$", rf"\g<1>{key}: {values[key]}", text)
        if n_lines == 1:
            used.add(key)
    if lost := sorted(set(values) - used):  # souk would run with other ports or upstreams than it was told.
        print(f"{template} has no place for {', '.join(lost)}")
        return 1
    with open(target, "w", encoding="utf-8") as out:
        out.write("# Written by deploy/quickstart from deploy/souk.yaml at each start: changes here are lost.\n" + text)
    return 0


def table(hub, clickhouse):
    page, held = status(hub), counts(clickhouse)
    now = page["now_ms"]
    print(f"  {'source':<42} {'state':<10} {'fresh':>12} {'pages':>7} {'rows':>10} {'rows/s':>8}")
    for source in page["sources"]:
        name = f"{source['name']} {source['stream']}"
        print(f"  {name[:42]:<42} {source['state']:<10} {age(source['last_success_ms'], now):>12} "
              f"{source['pages']['new']:>7,} {source['rows']:>10,} {source['rows_per_s']:>8,.1f}")
        if source["level"] != "green" and source["reason"]:
            print(f"    {source['level']}: {source['reason']}")
    print(f"\n  {'table':<42} {'rows in ClickHouse':>22}")
    for name in TABLES:
        print(f"  {name:<42} {number(held[name]):>22}" + ("  (not there)" if held[name] is None else ""))
    spool, last = page["spool"], page["alerts"]["last"]
    print(f"\n  spool       {size(spool['bytes'])} of {size(spool['quota_bytes'])}, "
          f"{size(spool['unacked_bytes'])} not stored yet")
    if last["ts_ms"]:
        print(f"  last alert  {last['sev']}: {last['title']} ({age(last['ts_ms'], now)}); {page['alerts']['firing']} firing")
    else:
        print("  last alert  none")
    return 0


def line(hub):
    page = status(hub)
    rows = sum(source["rows"] for source in page["sources"])
    rate = sum(source["rows_per_s"] for source in page["sources"])
    print(f"{page['summary']['level']}: {page['summary']['text']}; {rows:,} rows, {rate:,.1f} rows/s, "
          f"spool {size(page['spool']['bytes'])}, {page['alerts']['firing']} alerts firing", end="")
    return 0


def arrived(hub, clickhouse, wanted_of_each="all"):
    held, bad, silent = counts(clickhouse), [], []
    sources = enabled(status(hub))
    answering = set()
    if not sources:
        bad.append("no source is enabled")
    for source in sources:
        answered = sum(source["pages"].get(kind, 0) for kind in ("new", "unchanged", "empty"))
        wanted = ROWS_OF.get(source["name"])
        if answered:
            answering.add(source["name"])
        if not answered:
            why = source["last_error"] or source["reason"] or "no answer yet"
            silent.append((source["name"], f"{source['name']} {source['stream']}: no page arrived ({why})"))
        elif wanted and not held[wanted]:
            bad.append(f"{source['name']} {source['stream']}: {wanted} is empty")
    bad += [line for name, line in silent if wanted_of_each == "all" or name not in answering]
    names = {source["name"] for source in sources}
    bad += [f"{name} is empty" for name in TABLES if not held[name] and name not in ROWS_OF.values()
            and (name != "raw_public_stash_pages" or "psapi" in names)]
    print("\n".join(bad))
    return 1 if bad else 0


def drained(hub):
    page = status(hub)
    # Each poll of a quiet upstream is a row of these two tables, so they are never done.
    waiting = [f"{t['name']} has {t['open_rows']} rows open, {t['outstanding']} batches unanswered"
               for t in page["store"]["tables"]
               if t["name"] not in ("bronze_requests", "bronze_ingest_checkpoints") and (t["open_rows"] or t["outstanding"])]
    if page["spool"]["pages_waiting"]:
        waiting.append(f"{page['spool']['pages_waiting']} pages wait to be decoded")
    if page["store"]["state"] != "connected":
        waiting.append(f"ClickHouse is {page['store']['state']} {page['store']['last_error']}".strip())
    print("; ".join(waiting))
    return 1 if waiting else 0


def freeze(sim):
    fetch(sim, "/_sim/freeze", b'{"on":true}')
    return 0


def violations(sim):
    page = json.loads(fetch(sim, "/_sim/status"))
    found = page["violations"]
    n_found = len(found) if isinstance(found, list) else int(found)
    print(f"{n_found} rate-limit violations")
    return 1 if n_found else 0


def main(arguments):
    verbs = {"table": table, "line": line, "arrived": arrived, "drained": drained, "freeze": freeze,
             "violations": violations}
    if arguments[:1] == ["config"]:
        return config(arguments[1], arguments[2], arguments[3:])
    try:
        return verbs[arguments[0]](*arguments[1:])
    except (OSError, ValueError, KeyError, TypeError) as problem:  # A part that is away, or not itself.
        print(f"{arguments[0]}: {type(problem).__name__}: {problem}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What deploy/quickstart asks of a running stack: souk's status page, ClickHouse and the simulator.

    stack.py config FROM TO NAME=VALUE...   FROM with ${NAME:-default} of these names filled in, and the
                                            line of a key, commented out or not, if NAME is a path of
                                            lower case, as sources.psapi.realms
    stack.py table HUB CLICKHOUSE           short tables of what has arrived, and of the limits
    stack.py line HUB                       the same in one line
    stack.py arrived HUB CLICKHOUSE [MODE]  exit 0 once every stream was answered and every table has rows;
                                            MODE live: a source that lacks credentials may be off;
                                            MODE any: that too, and one stream of each source is enough
    stack.py mark HUB                       the end of what is on disk, for drained
    stack.py drained HUB MARK               exit 0 once all market data from before that mark are stored
    stack.py freeze SIM                     no new data from the simulator
    stack.py violations SIM                 exit 0 if no limit was broken

HUB, CLICKHOUSE and SIM are ports on 127.0.0.1; CLICKHOUSE may be PORT:FILE, with the password of the user
souk in FILE. Reasons for a non-zero exit go to standard output.
"""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

DATABASE = "poe_trade"
# Whose rows a table holds. Without its source a table may be empty; a table that is not named here is
# everybody's, and never may.
SOURCE_OF = {
    "bronze_account_stash_snapshot": "account_stashes",
    "bronze_enrichment": "enrichment",
    "bronze_exchange_events": "currency_exchange",
    "bronze_leagues": "leagues",
    "bronze_poeninja_snapshot": "poe_ninja",
    "bronze_public_stash": "psapi",
    "bronze_trade_metadata": "trade_data",
    "ops_scope_audit": "oauth",
    "raw_public_stash_pages": "psapi",
    "silver_listing_events": "psapi",
}
MAY_BE_EMPTY = ["bronze_exchange_gaps", "bronze_quarantine"]  # Nothing missing and nothing refused is what we hope for.
NEVER_DONE = ["bronze_ingest_checkpoints", "bronze_requests"]  # Each poll of a quiet upstream is a row of these.
MARKET = ("bronze_", "raw_", "silver_")
ANSWERED = ("new", "unchanged", "empty", "stale", "unavailable")
STREAMS_SHOWN = 2  # More of one source become one line.


def fetch(port, path, body=None, headers=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        return answer.read().decode("utf-8", "replace")


def status(hub):
    return json.loads(fetch(hub, "/api/v1/status"))


def query(clickhouse, sql):
    port, _, file = str(clickhouse).partition(":")
    headers = {}
    if file:
        with open(file, encoding="ascii") as password:
            headers = {"X-ClickHouse-User": "souk", "X-ClickHouse-Key": password.readline().strip()}
    return fetch(port, "/", sql.encode(), headers)


def counts(clickhouse):
    """Rows of each table of the database."""
    sql = (f"SELECT name, total_rows FROM system.tables WHERE database = '{DATABASE}' AND total_rows IS NOT NULL "
           "ORDER BY name FORMAT TSV")
    return {name: int(rows) for name, rows in (line.split("\t") for line in query(clickhouse, sql).splitlines())}


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


def streams_of(page):
    """The streams of each source, in the order of the status page."""
    found = {}
    for stream in page["sources"]:
        found.setdefault(stream["name"], []).append(stream)
    return found


def answers(stream):
    return sum(stream["pages"].get(kind, 0) for kind in ANSWERED)


def answered_before(stream):
    """What is asked once a day or a week has its answer from before the last restart, and rests."""
    return bool(stream["cursor"]) and stream["next_request_ms"] > 0 and not stream["last_error"] and stream["level"] == "green"


def replace_key(lines, path, value):
    """Sets the one line whose key is @path, by the indentation above it. @return whether there was one."""
    above, hits = [], []
    for n, line in enumerate(lines):
        found = re.match(r"( *)(?:# )?([a-z0-9_]+):(?: |$)", line)
        if not found:
            continue
        indent, key = len(found.group(1)), found.group(2)
        above = [(i, k) for i, k in above if i < indent]
        if [k for _, k in above] + [key] == path.split("."):
            hits.append((n, found.group(1) + key))
        if not line.lstrip().startswith("#"):
            above.append((indent, key))
    for n, start in hits:
        lines[n] = f"{start}: {value}"
    return len(hits) == 1


def config(template, target, settings):
    values = dict(setting.partition("=")[::2] for setting in settings)
    used = set()

    def fill(found):
        used.add(found.group(1))
        value = values.get(found.group(1), found.group(0))
        if found.group(1) in values and text[found.start() - 1] == '"':  # It means what it says, whatever that is.
            value = json.dumps(value, ensure_ascii=False)[1:-1].replace("${", "$${")
        return value

    with open(template, encoding="utf-8") as source:
        text = source.read()
    lines = re.sub(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}", fill, text).splitlines()
    used |= {path for path in filter(str.islower, values) if replace_key(lines, path, values[path])}
    if lost := sorted(set(values) - used):  # souk would run with other ports or upstreams than it was told.
        print(f"{template} has no place for {', '.join(lost)}")
        return 1
    with open(target, "w", encoding="utf-8") as out:
        out.write("# Written by deploy/quickstart from deploy/souk.yaml at each start: changes here are lost.\n")
        out.write("\n".join(lines) + "\n")
    return 0


LEVELS = ["green", "amber", "red"]


def behind(streams):
    """How far behind the upstream's head, in what its cursor counts and in seconds; '-' where nobody can know."""
    known = [stream for stream in streams if stream.get("lag_changes") is not None]
    if not known:
        return "-"
    text = f"{sum(stream['lag_changes'] for stream in known):,} changes"
    seconds = [stream["lag_estimate_s"] for stream in known if stream.get("lag_estimate_s") is not None]
    return f"{text}, {max(seconds):,.1f} s" if seconds else text


def source_line(name, streams, now):
    states = sorted({stream["state"] for stream in streams})
    fresh = [stream["last_success_ms"] for stream in streams if stream["last_success_ms"] or not answered_before(stream)]
    return (f"  {name[:36]:<36} {'+'.join(states)[:16]:<16} {age(min(fresh), now) if fresh else '-':>12} {behind(streams):>24} "
            f"{sum(stream['pages']['new'] for stream in streams):>7,} {sum(stream['rows'] for stream in streams):>10,} "
            f"{sum(stream['rows_per_s'] for stream in streams):>8,.1f}")


def sources_table(page):
    now = page["now_ms"]
    print(f"  {'source':<36} {'state':<16} {'fresh':>12} {'behind':>24} {'pages':>7} {'rows':>10} {'rows/s':>8}")
    for name, streams in streams_of(page).items():
        if len(streams) > STREAMS_SHOWN:
            print(source_line(f"{name}, {len(streams)} streams", streams, now))
        else:
            for stream in streams:
                print(source_line(f"{name} {stream['stream']}", [stream], now))
        for stream in streams:
            said = stream["reason"] or stream["last_error"] or stream.get("note", "")
            if stream["state"] in ("off", "unavailable") or (stream["level"] != "green" and said):
                print(f"    {stream['stream'] or name}: {stream['state']}: {said}")
            elif stream.get("note") and len(streams) <= STREAMS_SHOWN:
                print(f"    {stream['stream'] or name}: {stream['note']}")


def may_send(endpoint, now):
    """'now', 'in 12 s' or 'never', and why."""
    next_ms, state = endpoint.get("next_ms"), endpoint["state"]
    if state in ("disabled", "killed"):
        return "never"
    if next_ms and next_ms > now:
        return f"in {(next_ms - now) / 1000:.0f} s" if next_ms - now >= 1000 else "in <1 s"
    return "now"


def limits_table(page):
    print(f"\n  {'endpoint':<24} {'state':<9} {'may send':<9} {'requests':>8} {'429':>4}  used of each window")
    for endpoint in page["endpoints"]:
        windows = ", ".join(f"{w['rule']} {w['used']}/{w['limit']} in {w['period_s']} s" for w in endpoint["windows"])
        print(f"  {endpoint['name'][:24]:<24} {endpoint['state']:<9} {may_send(endpoint, page['now_ms']):<9} "
              f"{endpoint['requests']:>8,} {endpoint['throttled']:>4}  "
              f"{windows or 'none announced'}")


def table(hub, clickhouse):
    page, held = status(hub), counts(clickhouse)
    now = page["now_ms"]
    sources_table(page)
    limits_table(page)
    print(f"\n  {'table':<42} {'rows in ClickHouse':>22}")
    for name, rows in held.items():
        if name.startswith(MARKET) or (rows and not name.startswith("souk_")):
            print(f"  {name:<42} {rows:>22,}")
    spool, last = page["spool"], page["alerts"]["last"]
    tape = page.get("tape") or {"state": "off"}
    if tape.get("state") != "off":
        print(f"\n  tape        {tape.get('items', 0):,} items in {tape.get('stashes', 0):,} stashes, {size(tape.get('bytes', 0))}, "
              f"{tape.get('events', 0):,} events")
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


def lacks(name, streams, mode):
    """What a source still lacks."""
    off = [stream for stream in streams if stream["state"] == "off"]
    if off and mode != "all":
        return []
    silent = [stream for stream in streams if not answers(stream) and not answered_before(stream)]
    if mode == "any" and len(silent) < len(streams):
        return []
    return [f"{name} {stream['stream']}: no page arrived "
            f"({stream['last_error'] or stream['reason'] or 'no answer yet'})" for stream in silent]


def must_have_rows(table, sources, tape_on, mode):
    owner = SOURCE_OF.get(table)
    if owner is None:
        return table.startswith(("bronze_", "raw_")) and table not in MAY_BE_EMPTY
    if owner not in sources or (table == "silver_listing_events" and not tape_on):
        return False
    if mode == "all":
        return True
    # Recorded bodies and real upstreams need not have news of everything at once.
    answered = any(answers(stream) > stream["pages"].get("unavailable", 0) or answered_before(stream) for stream in sources[owner])
    return answered and table != "silver_listing_events"


def arrived(hub, clickhouse, mode="all"):
    page, held = status(hub), counts(clickhouse)
    sources, tape_on = streams_of(page), (page.get("tape") or {}).get("state", "off") != "off"
    bad = [line for name, streams in sources.items() for line in lacks(name, streams, mode)]
    if not sources:
        bad.append("no source is enabled")
    bad += [f"{name} is {'empty' if name in held else 'not there'}" for name in sorted({*held, *SOURCE_OF})
            if not held.get(name) and must_have_rows(name, sources, tape_on, mode)]
    print("\n".join(bad))
    return 1 if bad else 0


def mark(hub):
    print(status(hub)["spool"]["synced_lsn"])
    return 0


def drained(hub, before):
    fetch(hub, "/api/v1/flush", b"{}")  # What is gathered need not get older first.
    page = status(hub)
    waiting = [f"{t['name']} has {t['open_rows']} rows open, {t['outstanding']} batches unanswered"
               for t in page["store"]["tables"]
               if t["name"].startswith(MARKET) and t["name"] not in NEVER_DONE and (t["open_rows"] or t["outstanding"])]
    if page["spool"]["decoded_lsn"] < int(before):  # Behind it there is always something: polls, logs, the state of souk.
        waiting.append("pages wait to be decoded")
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
    verbs = {"table": table, "line": line, "arrived": arrived, "mark": mark, "drained": drained, "freeze": freeze,
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

"""The dashboard in a real browser on the real stack: numbers move, alerts arrive, keys work, gaps are noticed."""

import gzip
import json
import re
import subprocess
import time
import urllib.request

import pytest
from conftest import RESULTS, TOP, request
from playwright.sync_api import expect

DASHBOARD = TOP / "src" / "ui" / "dashboard"
SLOW = 90_000  # ms; for what needs an upstream to be late first.


def number(text):
    return float(re.sub(r"[^0-9.]", "", text) or 0)


def wait_until_live(page):
    expect(page.locator("#stream-state")).to_have_text("live", timeout=15_000)
    expect(page.locator("#data-age")).to_have_text("live", timeout=15_000)


def test_numbers_are_there_and_move(stack, page):
    page.goto(stack.url)
    wait_until_live(page)
    expect(page.locator("#summary-word")).to_have_text(re.compile("All well|Needs a look"))
    lines = page.locator("#sources tr:not(:has(button))")  # A group of streams is a line of its own.
    assert lines.count() == len(stack.status()["sources"])
    psapi = page.locator("#sources tr", has=page.locator("th", has_text="psapi")).first
    expect(psapi.locator("td code")).not_to_have_text("–")
    expect(page.locator("#spark .line")).to_have_attribute("d", re.compile("^M"), timeout=15_000)
    stored = page.locator("#tables tr", has_text="bronze_public_stash").locator("td").first
    before = number(stored.inner_text())
    assert before > 0
    expect(stored).not_to_have_text(f"{before:,.0f}", timeout=40_000)
    assert number(stored.inner_text()) > before
    # Ages move between two answers too.
    seen = {psapi.locator(".age").inner_text() for _ in range(6) if not page.wait_for_timeout(300)}
    assert len(seen) > 1, seen


def test_limits_show_the_windows_that_the_upstream_announced(stack, page):
    page.goto(stack.url)
    wait_until_live(page)
    row = page.locator("#endpoints tr", has=page.locator("th", has_text="psapi")).first
    expect(row.locator(".windows")).to_contain_text(re.compile(r"\d+/2 in 1 s"), timeout=15_000)


def stream(like, name, key, **more):
    return like | {"name": name, "stream": key, "service": name, "league": "", "state": "live", "level": "green", "reason": "",
                   "last_error": "", "cursor": "W/0011223344556677"} | more


def endpoint(name, now, **more):
    return {"name": name, "host": "upstream.example", "policy": f"{name}-request-limit", "state": "open", "reason": "may go now",
            "next_ms": now, "wait_ms": 0, "paused": False, "inflight": 0, "waiting": 0, "rate_per_s": 0.5, "windows": [],
            "requests": 10, "throttled": 0, "errors": 0} | more


def everything(answer):
    """A status page with 40 streams and endpoints in all states, made from a real one."""
    like, now = answer["sources"][0], answer["now_ms"]
    answer["sources"] = [
        *(stream(like, "account_stashes", f"pc/Standard/{n}", state="unavailable",
                 reason="scope account:stashes is not granted to this client; register it, or switch the source off") for n in range(1)),
        stream(like, "currency_exchange", "pc", rows=2144, cursor="1786003200", note="6 hours behind"),
        *(stream(like, "poe_ninja", f"Allflame/item/Unique{n:02}", rows=n, level="amber" if n == 7 else "green",
                 reason="no answer for 200 s" if n == 7 else "") for n in range(30)),
        stream(like, "psapi", "pc", lag_changes=1204, lag_estimate_s=3.4, rows=123456789, rows_per_s=1234.5),
        stream(like, "psapi", "xbox", lag_changes=None, lag_estimate_s=None, state="off", level="red",
               reason="disabled: 10 invalid requests in 10 min", last_error="/public-stash-tabs answered 400"),
        *(stream(like, "trade_data", kind, state="unavailable" if kind == "filters" else "live",
                 reason="HTTP 404; derived from the tape" if kind == "filters" else "")
          for kind in ("static", "items", "stats", "leagues", "filters", "change-ids")),
        stream(like, "enrichment", "", state="off", cursor="", reason="<b>no</b> page is named in sources.enrichment.pages"),
    ]
    window = {"rule": "Ip", "limit": 30, "used": 12, "period_s": 60, "restriction_s": 120}
    answer["endpoints"] = [
        endpoint("psapi", now, state="paced", reason="waits 64.2 s for Ip 2:1:60", next_ms=now + 64_200, wait_ms=64_200,
                 windows=[window | {"limit": 2, "used": 2, "period_s": 1}]),
        endpoint("account_stash", now, windows=[window | {"rule": "Account", "limit": 15, "used": 15, "period_s": 10},
                                                window | {"rule": "Account", "limit": 30, "used": 31, "period_s": 300}]),
        endpoint("trade_data", now, state="penalty", reason="waits 301.0 s: the server closed the policy", next_ms=now + 301_000,
                 wait_ms=301_000, throttled=1, windows=[window, window | {"limit": 100, "period_s": 1800}]),
        endpoint("currency_exchange", now, waiting=3, rate_per_s=0.05),
        endpoint("leagues", now, state="killed", reason="killed: by hand", next_ms=0, wait_ms=None),
        endpoint("oauth", now, next_ms=0, wait_ms=None, reason="waits for a reply", policy=""),
        endpoint("poe_ninja", now, paused=True, next_ms=0, wait_ms=None, reason="paused: maintenance", policy="", errors=3),
    ]
    answer["tape"] = {"state": "reading", "items": 10_234_567, "stashes": 412_345, "bytes": 900 << 20, "memory_max": 1 << 30, "events": 77_321, "lag_s": 2.1,
                      "snapshot_ms": now - 240_000, "forgotten": 0}
    return answer


@pytest.fixture
def crowded(stack, page):
    """The page of a souk with everything in it: one real answer of the stack, made larger, and the same each second."""
    answer = everything(stack.status())

    def fulfill(route):
        route.fulfill(json=answer | {"now_ms": answer["now_ms"] + fulfill.ms})
        fulfill.ms += 1000

    fulfill.ms = 0
    page.route("**/api/v1/status", fulfill)
    page.goto(stack.url)
    expect(page.locator("#sources-note")).to_have_text("6 sources, 40 streams", timeout=15_000)
    return page


def line(page, body, name):
    return page.locator(f"#{body} tr", has=page.locator("th", has_text=re.compile(f"^{name}"))).first


def test_streams_of_one_source_are_one_line_that_opens(crowded):
    visible = crowded.locator("#sources tr:visible")
    assert visible.count() == 7  # Six sources; psapi has two realms.
    xbox = line(crowded, "sources", "psapi *xbox")
    expect(xbox.locator(".badge")).to_have_text("stale")  # Off, and not because somebody wanted it so.
    expect(xbox).to_contain_text("disabled: 10 invalid requests in 10 min; /public-stash-tabs answered 400")
    group = line(crowded, "sources", "poe_ninja")
    expect(group).to_contain_text("30 streams")
    expect(group).to_contain_text("Allflame/item/Unique07: no answer for 200 s")
    expect(group.locator(".badge")).to_have_text("late")
    fold = group.get_by_role("button")
    assert fold.get_attribute("aria-expanded") == "false"
    fold.focus()
    crowded.keyboard.press("Enter")
    assert fold.get_attribute("aria-expanded") == "true"
    assert visible.count() == 37
    crowded.reload()
    expect(visible).to_have_count(37)  # What was open stays open.
    group.get_by_role("button").click()
    assert visible.count() == 7


def test_a_source_says_how_far_it_is_behind_and_why_it_is_quiet(crowded):
    expect(line(crowded, "sources", "psapipc")).to_contain_text("1,204 changesabout 3.4 s")
    quiet = line(crowded, "sources", "account_stashes")
    expect(quiet).to_contain_text("unavailable")
    expect(quiet).to_contain_text("register it, or switch the source off")
    expect(quiet.locator(".badge")).to_have_text("quiet")
    expect(line(crowded, "sources", "trade_data")).to_contain_text("filters: HTTP 404; derived from the tape")
    expect(line(crowded, "sources", "enrichment")).to_contain_text("<b>no</b> page is named")
    expect(line(crowded, "sources", "currency_exchange")).to_contain_text("6 hours behind")
    expect(crowded.locator("#tape")).to_contain_text("10,234,567")
    expect(crowded.locator("#tape-snapshot")).to_contain_text("4 min ago")


def test_each_limit_answers_whether_a_request_may_go(crowded):
    may = {name: line(crowded, "endpoints", name).locator(".may") for name in ("psapi", "account_stash", "trade_data", "currency_exchange", "leagues", "oauth", "poe_ninja")}
    expect(may["psapi"]).to_have_text(re.compile(r"^in \d+ sfor Ip 2:1:60"))
    expect(may["account_stash"]).to_have_text("nownothing in the way")
    expect(may["trade_data"]).to_have_text(re.compile(r"^in [45] minthe server closed the policy"))
    expect(may["currency_exchange"]).to_have_text("now3 paced evenly")
    expect(line(crowded, "endpoints", "currency_exchange").locator(".windows")).to_have_attribute(
        "data-empty", "1 in 20 s, no window announced")
    expect(may["leagues"]).to_have_text("neverkilled: by hand")
    expect(may["oauth"]).to_have_text("after a replywaits for a reply")
    expect(may["poe_ninja"]).to_have_text("neverpaused: maintenance")
    first = may["psapi"].locator("b").inner_text()
    expect(may["psapi"].locator("b")).not_to_have_text(first, timeout=5000)  # It counts down.
    expect(crowded.locator("#limits-note")).to_have_text("3 of 7 closed")
    # Word and shape say what the colour says.
    icons = {crowded.locator("#endpoints .badge").nth(n).locator("use").get_attribute("href") for n in range(7)}
    assert icons == {"#i-green", "#i-amber", "#i-red"}
    expect(line(crowded, "endpoints", "account_stash").locator(".windows li").nth(1)).to_have_attribute("data-level", "red")
    expect(line(crowded, "endpoints", "psapi")).to_contain_text("psapi-request-limit")


def test_nothing_moves_from_the_first_answer_on(crowded):
    """Layout shift, as browsers count it, from the start of the page over three answers; 0.1 is what their makers call good."""
    crowded.add_init_script("""window.shift = 0; window.shifted = [];
        new PerformanceObserver((list) => { for (const entry of list.getEntries()) {
            window.shift += entry.value; window.shifted.push(...entry.sources.map((source) => source.node?.id || source.node?.className || '')); } })
            .observe({ type: 'layout-shift', buffered: true });""")
    crowded.evaluate("localStorage.clear()")
    crowded.reload()
    expect(crowded.locator("#sources-note")).to_have_text("6 sources, 40 streams", timeout=15_000)
    crowded.wait_for_timeout(3300)
    assert crowded.evaluate("window.shift") < 0.1, crowded.evaluate("window.shifted")


def test_a_wide_screen_and_a_telephone_show_all_of_it(crowded):
    crowded.screenshot(path=RESULTS / "dashboard-crowded.png", full_page=True)
    fits = "[...document.querySelectorAll('.scroll')].every((box) => box.scrollWidth <= box.clientWidth)"
    assert crowded.evaluate(fits), "a table is wider than its card"
    crowded.set_viewport_size({"width": 390, "height": 844})
    crowded.screenshot(path=RESULTS / "dashboard-telephone.png", full_page=True)
    assert crowded.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert crowded.evaluate(fits), "a table does"
    expect(line(crowded, "sources", "psapipc")).to_contain_text("1,204 changes")


def test_quiet_says_when_it_was_last_checked(stack, page):
    page.goto(stack.url)
    wait_until_live(page)
    if not any(alert["status"] == "firing" for alert in stack.alerts()):
        expect(page.locator("#quiet")).to_contain_text("All quiet")
    expect(page.locator("#quiet-text")).to_contain_text(re.compile(r"Last check [0-5]\.\d s ago"), timeout=15_000)


def test_both_colour_schemes_and_a_narrow_screen(stack, page, request):
    results = TOP / "build" / "test-results"
    page.goto(stack.url)
    wait_until_live(page)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=results / f"dashboard-{scheme}.png", full_page=True)
    page.set_viewport_size({"width": 400, "height": 800})
    page.screenshot(path=results / "dashboard-narrow.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert page.evaluate("[...document.querySelectorAll('th')].every((th) => th.scope)")


def hellos_of(page, tamper):
    """Passes the page's alert socket on to the server through @tamper, and collects the hellos."""
    hellos = []

    def relay(route):
        server = route.connect_to_server()

        def upward(text):
            frame = json.loads(text)
            if frame["t"] == "hello":
                hellos.append(frame)
            server.send(text)

        def downward(text):
            text = tamper(len(hellos), text)
            if text is not None:
                route.send(text)

        route.on_message(upward)
        server.on_message(downward)

    page.route_web_socket(re.compile("/ws/alerts"), relay)
    return hellos


def wait_for_hellos(page, hellos, n, limit_ms):
    for _ in range(limit_ms // 200):
        if len(hellos) >= n:
            return
        page.wait_for_timeout(200)
    pytest.fail(f"{len(hellos)} hellos after {limit_ms} ms, wanted {n}")


def test_an_event_that_went_missing_is_noticed_and_resumed(stack, page):
    def lose_one(connection, text):
        frame = json.loads(text)
        if connection == 1 and frame["t"] == "hb":
            frame["sent"] += 1  # As if an event before it had been lost.
            frame["off"] += 1
            return json.dumps(frame)
        return text

    hellos = hellos_of(page, lose_one)
    page.goto(stack.url)
    wait_for_hellos(page, hellos, 2, 15_000)
    assert "resume" not in hellos[0]
    assert set(hellos[1]["resume"]) == {"epoch", "off"}
    wait_until_live(page)


def test_silence_ends_the_connection_after_twelve_seconds(stack, page):
    def fall_silent(connection, text):
        return None if connection == 1 and json.loads(text)["t"] in ("hb", "ev") else text

    hellos = hellos_of(page, fall_silent)
    page.goto(stack.url)
    wait_for_hellos(page, hellos, 2, 20_000)
    assert "resume" in hellos[1]
    wait_until_live(page)


def test_data_that_stopped_coming_is_called_old(stack, page):
    page.allowed_complaints = ("ERR_INTERNET_DISCONNECTED",)
    page.goto(stack.url)
    wait_until_live(page)
    rows = page.locator("#sources tr").count()
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("souk cannot be reached", timeout=15_000)
    expect(page.locator("#data-age")).to_contain_text("old")
    assert page.locator("#sources tr").count() == rows, "the last good answer stays on screen"
    page.context.set_offline(False)
    wait_until_live(page)
    expect(page.locator("#banner")).to_be_hidden()


def test_a_late_source_alerts_and_the_keyboard_acknowledges_it(stack, page):
    page.goto(stack.url)
    wait_until_live(page)
    stack.fault(target="psapi", kind="status", value=503, for_ms=300_000)
    try:
        card = page.locator("#feed .alert", has_text="psapi").filter(has=page.locator(".sev:not(:empty)")).first
        expect(card).to_be_visible(timeout=SLOW)
        expect(card.locator(".sev")).to_have_text(re.compile("warning|critical"))
        expect(card.locator(".why li").first).to_be_visible()
        name = card.get_attribute("data-id")
        chosen = page.locator("#feed .alert[aria-current]")
        for _ in range(20):  # Other alerts may stand above it.
            page.keyboard.press("j")
            if chosen.get_attribute("data-id") == name:
                break
        assert chosen.get_attribute("data-id") == name
        page.keyboard.press("a")
        mine = page.locator(f"#feed .alert[data-id='{name}']")
        expect(mine.locator(".button").first).to_have_text("Undo", timeout=5000)
        held = next(alert for alert in stack.alerts() if alert["id"] == name)
        assert held["ack"], "the server holds the acknowledgement"
        page.keyboard.press("s")
        expect(mine.get_by_role("button", name="Wake")).to_be_visible(timeout=5000)
        assert next(alert for alert in stack.alerts() if alert["id"] == name)["snooze"]
    finally:
        stack.fault()
    expect(page.locator(f"#feed .alert[data-id='{name}'] .head")).to_contain_text("resolved", timeout=2 * SLOW)


def test_the_page_fits_its_budget_and_its_policy(stack):
    total = 0
    for path in ["", *(f.name for f in (DASHBOARD / "dist").iterdir())]:
        with urllib.request.urlopen(stack.url + path, timeout=10) as answer:
            body = answer.read()
            policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        if path != "index.html":
            total += len(gzip.compress(body, 9))
    assert total <= 60 * 1024
    assert (DASHBOARD / "dist" / "app.css").stat().st_size <= 12 * 1024


def test_text_from_the_server_enters_as_text():
    for script in DASHBOARD.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script.read_text()), script.name
    page = (DASHBOARD / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son[a-z]+=|\sstyle=", page)


# What else a stack that has run for so long can show, without another one.


def tool(name, *arguments):
    return subprocess.run([str(a) for a in (TOP / "deploy" / "lib" / name, *arguments)], capture_output=True, text=True, timeout=30)


def test_every_source_answered_and_every_table_has_rows(stack):
    deadline = time.monotonic() + 90
    while (found := subprocess.run(["python3", TOP / "deploy/lib/stack.py", "arrived", str(stack.hub), f"{stack.http}:{stack.password_file()}"],
                                   capture_output=True, text=True, timeout=30)).returncode != 0 and time.monotonic() < deadline:
        time.sleep(1)
    assert found.returncode == 0, found.stdout + found.stderr
    shown = subprocess.run(["python3", TOP / "deploy/lib/stack.py", "table", str(stack.hub), f"{stack.http}:{stack.password_file()}"], capture_output=True,
                           text=True, timeout=30).stdout
    for name in {source["name"] for source in stack.status()["sources"]} | {"bronze_public_stash", "may send"}:
        assert name in shown, shown
    broken = json.loads(request(stack.sim, "/_sim/status"))["violations"]
    assert broken == 0, (stack.state / "sim" / "violations.jsonl").read_text()


def test_the_readme_has_the_policies_that_souk_learned(stack, tmp_path):
    found = tool("policies", stack.hub, "--check", TOP / "README.md")
    assert found.returncode == 0, found.stdout + found.stderr
    other = tmp_path / "README.md"
    text = (TOP / "README.md").read_text()
    other.write_text(text.replace("Ip: 2 in 1 s", "Ip: 20 in 1 s"))
    found = tool("policies", stack.hub, "--check", other)
    assert (found.returncode, "souk learned" in found.stdout) == (1, True), found.stdout + found.stderr
    assert tool("policies", stack.hub, "--write", other).returncode == 0
    assert tool("policies", stack.hub, "--check", other).returncode == 0

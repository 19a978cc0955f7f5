"""The dashboard in a real browser on the real stack: numbers move, alerts arrive, keys work, gaps are noticed."""

import gzip
import json
import re
import urllib.request

import pytest
from conftest import TOP
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
    sources = page.locator("#sources tr")
    assert sources.count() == len(stack.status()["sources"])
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

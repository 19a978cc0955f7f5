"""The dashboard of a hub that wants to know who asks: a token opens it, and nothing is green before."""

import json
import pathlib
import re
import sys

import pytest
from playwright.sync_api import expect

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from test_alert_stream import Demo  # noqa: E402

TOKEN = "reader-secret-0001"
REFUSALS = ("status of 401", "status of 403", "WebSocket connection")
GREEN = "[data-level=green]:visible, use[href='#i-green']:visible"


@pytest.fixture
def hub(request):
    demo = Demo(*request.param)
    yield demo
    status, err = demo.quit()
    assert status == 0, err


def answer_all(page):
    """The page of a souk that is well, once the hub has let its reader in."""
    def fulfill(route):
        real = route.fetch()
        if not real.ok:
            return route.fulfill(response=real)
        return route.fulfill(json={"version": "1", "now_ms": 1_795_288_266_000, "state": "running", "summary": {"level": "green", "text": "all of it"},
                                   "sources": [], "endpoints": [], "spool": {}, "store": {"state": "connected", "tables": []},
                                   "alerts": {"firing": 0, "critical": 0, "last": {"title": ""}}})
    page.route("**/api/v1/status", fulfill)


@pytest.mark.parametrize("hub", [("--token", f"reader:{TOKEN}:r")], indirect=True)
def test_a_token_opens_it(hub, page):
    page.allowed_complaints = REFUSALS
    answer_all(page)
    page.goto(f"http://127.0.0.1:{hub.port}/")
    form = page.locator("#sign-in")
    expect(form).to_be_visible()
    expect(page.locator("#banner")).to_contain_text("a bearer token is needed")
    expect(page.locator("#stream-state")).to_have_text("refused", timeout=15_000)
    expect(page.locator("#banner-retry")).to_be_hidden()
    expect(page.locator("#quiet-word")).to_have_text("Not known")
    assert page.locator(GREEN).count() == 0
    for wrong in ("a-token-of-nobody", "no l\u00e4tin"):
        page.locator("#token").fill(wrong)
        page.locator("#token").press("Enter")
        expect(page.locator("#sign-in-problem")).to_have_text(re.compile("does not know this token|no token"))
    page.locator("#token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(form).to_be_hidden()
    expect(page.locator("#summary-word")).to_have_text("All well")
    expect(page.locator("#stream-state")).to_have_text("live", timeout=15_000)
    expect(page.locator("#quiet-word")).to_have_text("All quiet")
    expect(page.locator("#banner")).to_be_hidden()
    page.reload()  # The cookie is the browser's.
    expect(page.locator("#stream-state")).to_have_text("live", timeout=15_000)
    kept = page.evaluate("JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), document.cookie])")
    assert TOKEN not in kept, kept


@pytest.mark.parametrize("hub", [("--local", "no")], indirect=True)
def test_where_nobody_may_ask_it_says_what_to_set(hub, page):
    page.allowed_complaints = REFUSALS
    page.goto(f"http://127.0.0.1:{hub.port}/")
    expect(page.locator("#banner")).to_contain_text("name a hub.tokens_file")
    expect(page.locator("#sign-in")).to_be_hidden()
    expect(page.locator("#banner-retry")).to_be_hidden()
    assert page.locator(GREEN).count() == 0


@pytest.mark.parametrize("hub", [()], indirect=True)
def test_what_has_stopped_is_not_quiet(hub, page):
    page.allowed_complaints = ("Failed to load resource", "WebSocket connection", "net::ERR")
    answer_all(page)
    page.goto(f"http://127.0.0.1:{hub.port}/")
    expect(page.locator("#quiet-word")).to_have_text("All quiet", timeout=15_000)
    page.unroute("**/api/v1/status")
    assert hub.quit()[0] == 0
    expect(page.locator("#quiet-word")).to_have_text("Not known", timeout=40_000)
    assert json.loads(page.evaluate("JSON.stringify(document.getElementById('quiet').dataset)")) == {"level": "idle"}


@pytest.mark.parametrize("hub", [()], indirect=True)
def test_the_link_of_an_alert_shows_that_alert(hub, page):
    answer_all(page)
    for n in range(30):
        hub.do(f"raise class_{n} warning Number {n} of many")
    page.goto(f"http://127.0.0.1:{hub.port}/")
    expect(page.locator("#stream-state")).to_have_text("live", timeout=15_000)
    last = page.locator("#feed > li").last
    expect(last).to_be_visible(timeout=15_000)
    wanted = last.get_attribute("data-id")
    page.goto("about:blank")
    page.goto(f"http://127.0.0.1:{hub.port}/alerts/{wanted}")
    card = page.locator("#feed > li[aria-current]")
    expect(card).to_have_attribute("data-id", wanted, timeout=15_000)
    expect(card).to_be_in_viewport()

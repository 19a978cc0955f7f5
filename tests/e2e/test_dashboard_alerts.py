"""The dashboard against a real hub and alerts room without the rest of souk (tests/lib/hub_demo.c), so that alerts can
be made at will: what changes an alert, and what a connection may lose."""

import os
import pathlib
import re
import subprocess

import pytest
from playwright.sync_api import expect
from stacks import free_ports


class Demo:
    """A hub that does what it is told on standard input. Its log outlives it."""

    def __init__(self, log):
        program = pathlib.Path(os.environ.get("SOUK_BUILD", "build/test-gcc")) / "src" / "hub" / "hub_demo"
        if not program.is_file():
            pytest.skip(f"{program} is not built")
        self.command = [program, "--port", str(free_ports(1)[0]), "--log", log]
        self.url = f"http://127.0.0.1:{self.command[2]}/"
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.say("tick")

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while (answer := self.process.stdout.readline()) != "ok\n":
            assert answer, f"the hub ended at: {line}"


@pytest.fixture
def demo(tmp_path):
    running = Demo(tmp_path / "alerts.jsonl")
    yield running
    running.kill()


@pytest.fixture
def dashboard(demo, page):
    # The demo's status page is nearly empty, and two tests kill it: only the alerts are looked at here.
    page.allowed_complaints = ("ERR_CONNECTION_REFUSED", "WebSocket connection to")
    page.goto(demo.url)
    wait_until_live(page)
    return page


def wait_until_live(page):
    expect(page.locator("#stream-state")).to_have_text("live", timeout=30_000)


def card(page, title):
    return page.locator("#feed .alert", has_text=title)


def raise_three(demo):
    demo.say("raise drift warning psapi is late")
    demo.say("raise store_away critical ClickHouse is away")
    demo.say("raise throttled info poe.ninja was slow")


def test_the_worst_alert_comes_first_and_news_are_told(demo, dashboard):
    expect(dashboard.locator("#quiet")).to_contain_text("All quiet")
    raise_three(demo)
    expect(dashboard.locator("#feed .title")).to_have_text(["ClickHouse is away", "psapi is late", "poe.ninja was slow"])
    expect(dashboard.locator("#announce-critical")).to_have_text("Critical: ClickHouse is away")
    expect(dashboard.locator("#firing")).to_have_text("3 firing")
    expect(dashboard.locator("#quiet")).to_be_hidden()
    expect(dashboard).to_have_title("(1) souk: critical")


def test_keys_move_acknowledge_and_snooze_and_all_of_it_can_be_taken_back(demo, dashboard):
    raise_three(demo)
    expect(dashboard.locator("#feed .alert")).to_have_count(3)
    for key in "jjk":
        dashboard.keyboard.press(key)
    chosen = dashboard.locator("#feed .alert[aria-current]")
    expect(chosen).to_contain_text("ClickHouse is away")
    expect(chosen).to_be_focused()
    dashboard.keyboard.press("a")
    expect(chosen.locator(".head")).to_contain_text("acknowledged")
    chosen.get_by_role("button", name="Undo").click()
    expect(chosen.get_by_role("button", name="Acknowledge")).to_be_visible()
    dashboard.keyboard.press("s")
    expect(chosen.locator(".head")).to_contain_text(re.compile("snoozed for 1[45] min"))
    chosen.get_by_role("button", name="Wake").click()
    expect(chosen.get_by_role("combobox")).to_be_visible()
    chosen.get_by_role("combobox").select_option("1 h")
    expect(chosen.locator(".head")).to_contain_text(re.compile("snoozed for (59|60) min"))


def test_what_gets_worse_is_no_longer_acknowledged(demo, dashboard):
    demo.say("raise drift warning psapi is late")
    expect(card(dashboard, "psapi")).to_be_visible()
    dashboard.keyboard.press("j")
    dashboard.keyboard.press("a")
    expect(card(dashboard, "psapi").locator(".head")).to_contain_text("acknowledged")
    demo.say("raise drift critical psapi is very late")
    expect(card(dashboard, "very late").locator(".sev")).to_have_text("critical")
    expect(card(dashboard, "very late").get_by_role("button", name="Acknowledge")).to_be_visible()
    demo.say("clear drift")
    expect(card(dashboard, "very late").locator(".head")).to_contain_text("resolved")
    expect(dashboard.locator("#quiet")).to_contain_text("All quiet")


def test_new_cards_wait_while_somebody_points_at_the_list(demo, dashboard):
    demo.say("raise drift warning psapi is late")
    card(dashboard, "psapi").hover()
    demo.say("raise store_away critical ClickHouse is away")
    expect(dashboard.locator("#newer")).to_have_text("1 new")
    expect(dashboard.locator("#feed .alert")).to_have_count(1)
    dashboard.locator("#newer").click()
    expect(dashboard.locator("#feed .title")).to_have_text(["ClickHouse is away", "psapi is late"])


def test_a_hub_that_was_killed_is_met_again_without_losing_or_repeating(demo, dashboard):
    raise_three(demo)
    expect(dashboard.locator("#feed .alert")).to_have_count(3)
    frames = []
    dashboard.on("websocket", lambda socket: socket.on("framereceived", lambda text: frames.append(text)))
    demo.kill()
    expect(dashboard.locator("#stream-state")).not_to_have_text("live", timeout=15_000)
    demo.start()
    demo.say("raise drift critical psapi is very late")
    expect(card(dashboard, "very late")).to_be_visible(timeout=30_000)
    expect(dashboard.locator("#feed .alert")).to_have_count(3)
    assert any('"mode":"replay"' in frame for frame in frames), frames[:2]


def test_a_stream_that_starts_anew_is_taken_whole(demo, dashboard):
    raise_three(demo)
    demo.say("break")
    demo.say("raise store_full critical The disk is full")
    expect(card(dashboard, "The disk is full")).to_be_visible(timeout=15_000)
    wait_until_live(dashboard)
    expect(dashboard.locator("#feed .alert")).to_have_count(4)


def test_hundreds_of_alerts_and_markup_in_a_title_do_no_harm(demo, dashboard):
    demo.say("raise xss critical <img src=x onerror=alert(1)><b>bold</b>")
    expect(dashboard.locator("#feed .title").first).to_have_text("<img src=x onerror=alert(1)><b>bold</b>")
    assert dashboard.locator("#feed img, #feed b").count() == 0
    demo.say("burst 300")
    expect(dashboard.locator("#firing")).to_have_text("301 firing", timeout=15_000)
    expect(dashboard.locator("#feed-note")).to_contain_text("101 more")
    wait_until_live(dashboard)

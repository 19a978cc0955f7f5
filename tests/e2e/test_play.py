"""The query page of the embedded ClickHouse in a real browser: it answers whoever has the password, and no other site's page."""

import pytest
import stacks


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory):
    with stacks.stack_of(tmp_path_factory.mktemp("play"), start=False) as stack:
        stack.start_clickhouse(schema=False)
        yield stack


def test_the_query_page_answers(clickhouse, page):
    page.allowed_complaints = ("Failed to load resource", "net::ERR", "Content Security Policy")  # Pictures and charts of other hosts.
    page.goto(f"http://127.0.0.1:{clickhouse.http}/play?user=souk", wait_until="domcontentloaded")
    page.locator("#password").fill(clickhouse.password_file().read_text().strip())
    page.locator("#query").fill("SELECT 6 * 7 AS answer")
    page.locator("#run").click()
    page.get_by_text("42", exact=True).first.wait_for(timeout=30_000)


def test_a_page_of_another_site_reads_nothing(clickhouse, page):
    page.allowed_complaints = ("CORS policy", "Failed to load resource")
    page.route("http://page.example/", lambda route: route.fulfill(body="<p>another site", content_type="text/html"))
    page.goto("http://page.example/")
    password = clickhouse.password_file().read_text().strip()
    said = page.evaluate("""async (url) => {
        try { return await (await fetch(url, { method: 'POST', body: 'SELECT 6 * 7' })).text(); } catch (error) { return error.name; }
    }""", f"http://127.0.0.1:{clickhouse.http}/?user=souk&password={password}&add_http_cors_header=1")
    assert said == "TypeError"

"""Every link of every alert leads somewhere: its class to a section of the runbook, its id to the dashboard."""

import re

import pytest
from test_alert_stream import ROOT, demo, get  # noqa: F401

SOURCES = "\n".join(p.read_text() for p in sorted((ROOT / "src").rglob("*.c")) if "sim" not in p.parts)
LINKS = sorted(set(re.findall(r'"(/runbook#\w+)"', SOURCES)))
CLASSES = {re.sub(r"\s+", "", c) for c in re.findall(r'apply\(g, &g->\w+, &f, "(\w+)"|\.class = "(\w+)"', SOURCES) for c in c if c}
CLASSES |= set(re.findall(r'"(\w+)"', re.search(r"rule_classes\[\] = \{(.*?)\}", SOURCES, re.S).group(1)))
CLASSES -= {"test"}  # Somebody asked for it, to see how one looks.


def test_every_class_has_a_link_and_every_link_a_section(demo):  # noqa: F811
    assert len(CLASSES) > 9 and {f"/runbook#{c}" for c in CLASSES} == set(LINKS)
    status, headers, body = get(demo.port, "/runbook")
    assert status == 200 and headers["content-type"].startswith("text/html")
    sections = set(re.findall(r'<section [^>]*id="(\w+)"', body.decode()))
    assert sections == CLASSES


def test_the_link_of_an_alert_leads_to_the_dashboard(demo):  # noqa: F811
    status, headers, _ = get(demo.port, "/alerts/al_0123456789abc")
    assert (status, headers["location"]) == (302, "../#al_0123456789abc")


@pytest.mark.parametrize("bad", ["", "al_%0d%0aSet-Cookie:x", "a/b", "a" * 200, "..", "al_<b>", "al%20x"])
def test_what_is_no_id_leads_nowhere(demo, bad):  # noqa: F811
    assert get(demo.port, f"/alerts/{bad}")[0] == 404

"""The report in a browser: by day, by night, on paper, by keyboard, and alone."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from liaison.audit import report
from tests.support import audit_story, browser
from tests.support.browser import Page

pytestmark = pytest.mark.xdist_group("browser")

# WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what a plot consists of.
TEXT_CONTRAST = 4.5
SHAPE_CONTRAST = 3.0

CONTRASTS = """(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  const seen = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (seen.nextNode()) {
    const e = seen.currentNode.parentElement;
    if (!seen.currentNode.data.trim() || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const colour = e.namespaceURI.endsWith("svg") ? style.fill : style.color;
    found.push(["text", seen.currentNode.data.slice(0, 40), ratio(rgb(colour), behind(e))]);
  }
  for (const e of document.querySelectorAll("svg .series .rect, svg .series .line")) {
    const style = getComputedStyle(e);
    const colour = e.matches(".rect") ? style.fill : style.stroke;
    found.push(["shape", e.parentElement.className.baseVal, ratio(rgb(colour), behind(e))]);
  }
  return found;
})()"""


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    events = audit_story.long()
    file = tmp_path / "report.html"
    file.write_text(report.make(audit_story.facts(len(events)), events), encoding="utf-8")
    async with browser.page() as opened:
        await opened.open(file.as_uri())
        yield opened


async def test_it_renders_without_an_error_and_asks_nobody_for_anything(page: Page) -> None:
    title = await page.run("document.title")
    drawn = await page.run(
        "[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().height)"
    )

    assert title == "Audit report of relay.example/log/0123456789abcdef"
    assert len(drawn) >= 6
    assert min(drawn) > 50
    asked = [event["request"]["url"] for event in page.named("Network.requestWillBeSent")]
    assert len(asked) == 1
    assert asked[0].startswith("file://")
    assert page.named("Log.entryAdded") == []
    assert page.named("Runtime.consoleAPICalled") == []
    assert page.named("Runtime.exceptionThrown") == []


async def test_its_policy_lets_nothing_else_in(page: Page) -> None:
    got = await page.run(
        "(() => { new Image().src = 'https://example.invalid/x.png';"
        " const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        " document.head.append(script); document.body.setAttribute('style', 'color: red');"
        " return [window.ran ?? null, document.body.style.color]; })()"
    )

    assert got == [None, ""]
    refused = [event["entry"]["text"] for event in page.named("Log.entryAdded")]
    assert any("Content Security Policy" in text for text in refused)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_can_be_told_from_its_background(page: Page, scheme: str) -> None:
    await page.look(scheme=scheme)

    found: list[tuple[str, str, float]] = await page.run(CONTRASTS)

    least = {"text": TEXT_CONTRAST, "shape": SHAPE_CONTRAST}
    assert {kind for kind, _, _ in found} == set(least)
    assert [one for one in found if one[2] < least[one[0]]] == []


async def test_light_and_dark_differ(page: Page) -> None:
    colours = []
    for scheme in ("light", "dark"):
        await page.look(scheme=scheme)
        colours.append(await page.run("getComputedStyle(document.body).backgroundColor"))

    assert colours == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


async def test_the_keyboard_reaches_links_and_tables_in_their_order(page: Page) -> None:
    wanted = await page.run("document.querySelectorAll('a, .scroll').length")
    places = []
    for _ in range(wanted):
        await page.press("Tab")
        places.append(
            await page.run(
                "(e => [[...document.querySelectorAll('a, .scroll')].indexOf(e),"
                " getComputedStyle(e).outlineStyle, e.getClientRects().length])"
                "(document.activeElement)"
            )
        )

    assert [place for place, _, _ in places] == list(range(wanted))
    assert {style for _, style, _ in places} == {"solid"}
    assert all(shown for _, _, shown in places)


async def test_paper_has_all_of_every_table_and_is_light(page: Page) -> None:
    await page.look(media="print", scheme="dark")

    cut = await page.run(
        "[...document.querySelectorAll('.scroll')].filter("
        "e => e.scrollHeight > e.clientHeight + 1).length"
    )
    assert cut == 0
    assert await page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert await page.run("document.querySelector('nav').getClientRects().length") == 0
    printed: dict[str, Any] = await page.ask("Page.printToPDF")
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")


async def test_it_fits_a_telephone(page: Page) -> None:
    await page.ask(
        "Emulation.setDeviceMetricsOverride",
        width=360, height=740, deviceScaleFactor=2, mobile=True,
    )  # fmt: skip

    assert await page.run("document.documentElement.scrollWidth") <= 360

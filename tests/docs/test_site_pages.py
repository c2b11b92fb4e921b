"""Every page of the built site, seen in a browser at two widths."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
# Of axe-core's rules, those that need no judgement about this text.
RULES = ["color-contrast", "image-alt", "link-name", "button-name", "html-has-lang", "document-title", "label"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site served on this machine alone."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def names(site: Path) -> list[str]:
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    return [name for name in found if not name.startswith("_static/")]


class Visit:
    """One page open in the browser, with all it asked for and complained of."""

    def __init__(self, browser: Any, size: str, scheme: str = "light") -> None:
        width, height = SIZES[size]
        self.page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on(
            "console", lambda message: self.complaints.append(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))

    def open(self, url: str) -> Any:
        self.asked.clear()
        self.complaints.clear()
        self.page.goto(url, wait_until="load")
        self.page.evaluate("window.MathJax?.startup?.promise")
        return self.page


@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_whole_and_asks_no_other_host(browser, address, names, size):
    visit, troubles = Visit(browser, size), []
    for name in names:
        page = visit.open(f"{address}/{name}")
        outside = [url for url in visit.asked if urlsplit(url).scheme != "data" and not url.startswith(address)]
        troubles += [f"{name}: asks {url}" for url in outside]
        troubles += [f"{name}: {complaint}" for complaint in visit.complaints]
        raw = page.evaluate(
            "[...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container')).length"
        )
        wrong = page.locator("mjx-merror, [data-mjx-error]").count()
        troubles += [f"{name}: {raw} formulas not rendered, {wrong} with an error"] if raw or wrong else []
        bare = page.evaluate("[...document.querySelectorAll('article img')].filter(i => !i.alt.trim()).map(i => i.src)")
        empty = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
        troubles += [f"{name}: picture without words {bare}"] if bare else []
        troubles += [f"{name}: picture missing {empty}"] if empty else []
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        troubles += [f"{name}: {wide} pixels wider than the window"] if wide > 1 else []
    visit.page.close()
    assert len(names) > 20 and not troubles, "\n".join(troubles)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_names_are_sufficient(browser, address, names, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `browser`").Axe()
    visit, troubles = Visit(browser, "desktop", scheme), []
    for name in names:
        page = visit.open(f"{address}/{name}")
        options = {"runOnly": {"type": "rule", "values": RULES}, "resultTypes": ["violations"]}
        found = axe.run(page, context={"exclude": [["mjx-container"]]}, options=options).response["violations"]
        for violation in found:
            places = [node["html"][:110] for node in violation["nodes"]]
            troubles.append(f"{name}: {violation['id']} {len(places)} times: {places[0]}")
    visit.page.close()
    assert not troubles, "\n".join(troubles)


def lessons(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("lessons/") and name != "lessons/index.html"]


def test_folded_solutions_open_by_click_and_by_keyboard(browser, address, names):
    visit = Visit(browser, "desktop")
    for name in lessons(names):
        page = visit.open(f"{address}/{name}")
        folded = page.locator("details.hide")
        assert folded.count() >= 2, name
        first, second = folded.nth(0), folded.nth(1)
        assert first.get_attribute("open") is None and not first.locator("pre").first.is_visible()
        first.locator("summary").click()
        assert first.locator("pre").first.is_visible()
        second.locator("summary").focus()
        page.keyboard.press("Enter")
        assert second.locator("pre").first.is_visible()
    visit.page.close()


@pytest.mark.parametrize("size", SIZES)
def test_the_table_of_contents_is_within_reach(browser, address, names, size):
    visit = Visit(browser, size)
    page = visit.open(f"{address}/{lessons(names)[-1]}")
    target = page.locator(".bd-sidebar-primary a[href*='01_data_merging']").first
    if not target.is_visible():
        page.locator("button.primary-toggle:visible").first.click()
    target.click()
    page.wait_for_url("**/01_data_merging.html")
    inside = page.locator(".bd-sidebar-secondary a[href^='#']").first
    if not inside.is_visible():
        page.locator("button.secondary-toggle:visible").first.click()
    inside.click()
    assert "#" in page.url
    visit.page.close()


def test_a_search_finds_a_term_and_the_dark_mode_can_be_chosen(browser, address):
    visit = Visit(browser, "desktop")
    page = visit.open(f"{address}/search.html?q=temperature")
    page.locator("#search-results li a").first.wait_for()
    page.locator("button.theme-switch-button:visible").first.click()
    assert page.evaluate("document.documentElement.dataset.mode") in ("light", "dark", "auto")
    visit.page.close()


def test_a_printed_lesson_shows_its_text_and_not_the_navigation(browser, address, names):
    visit = Visit(browser, "desktop")
    page = visit.open(f"{address}/{lessons(names)[0]}")
    page.emulate_media(media="print")
    assert page.locator("h1:visible").count() == 1 and page.locator("article p:visible").count() > 20
    assert not page.locator(".bd-sidebar-primary").is_visible()
    assert len(page.pdf(format="A4")) > 100_000
    visit.page.close()

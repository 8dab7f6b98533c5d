"""The page at / in headless Chromium, over the real model."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from integration_tests.borrowed import Borrowed

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.service.auth import add_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: make browser installs Debian's"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


class Page:
    """A page with the warnings and errors of the browser, and the requests of the page."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_context(**options).new_page()
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def _note(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    def compare(self, texts: list[str]) -> list[list[float]]:
        """Fill in the playground and read the heat map."""
        self.page.fill("#texts", "\n".join(texts))
        self.page.click("button[type=submit]")
        self.page.wait_for_selector(f"#similarity tr:nth-child({len(texts) + 1})")
        rows = self.page.query_selector_all("#similarity tr")[1:]
        return [[float(cell.inner_text()) for cell in row.query_selector_all("td")] for row in rows]


def test_page_shows_what_is_served_and_compares_languages(
    browser: Any, vectorizer: Vectorizer, start_service: Any
) -> None:
    service = start_service(Borrowed(vectorizer)).ready()
    page = Page(browser, service.url)
    page.page.wait_for_selector("#model dd")
    manifest = vectorizer.bundle.manifest
    shown = page.page.inner_text("main")
    for value in (
        manifest.name,
        manifest.fingerprint[:20],
        str(manifest.dimension),
        str(manifest.maximum_tokens),
    ):
        assert value in shown
    for line in (
        f"TRANSFORMERS_INFERENCE_API={service.url}",
        f"QDRANT__INFERENCE__ADDRESS={service.url}/qdrant",
        f'base_url="{service.url}/v1"',
    ):
        assert line in shown
    archive = ["How do I unpack an archive?", "Wie packe ich ein Archiv aus?", "如何解压缩文件？"]
    recipe = ["The recipe needs two eggs and flour.", "Tarif iki yumurta ve un istiyor."]
    table = page.compare(archive + recipe)
    for i, row in enumerate(table):
        assert row[i] == 1.0
        assert row == [other[i] for other in table]
    assert min(table[0][1], table[0][2]) > max(table[0][3:])
    assert table[3][4] > max(table[3][:3])
    sync_api.expect(page.page.locator("#load")).to_contain_text("requests/s")
    assert page.complaints == []
    assert {url.split("/")[2] for url in page.requests} == {f"127.0.0.1:{service.port}"}


def test_page_works_by_keyboard_on_a_small_dark_screen(
    browser: Any, bundle_of_fake: Vectorizer, start_service: Any
) -> None:
    service = start_service(bundle_of_fake).ready()
    small = {"width": 360, "height": 640}
    page = Page(browser, service.url, viewport=small, color_scheme="dark")
    page.page.wait_for_selector("#model dd")
    page.page.focus("#texts")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#similarity table")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.complaints == []


def test_texts_are_text_and_errors_are_shown(
    browser: Any, bundle_of_fake: Vectorizer, start_service: Any
) -> None:
    service = start_service(bundle_of_fake, maximum_texts=5).ready()
    page = Page(browser, service.url)
    page.compare(["<img src=x onerror=alert(1)>", "<script>document.title='gone'</script>"])
    assert page.page.query_selector("#similarity img, #similarity script") is None
    assert page.page.title() == "LUSIFER"
    page.page.fill("#texts", "\n".join("abcdefg"))
    page.page.click("button[type=submit]")
    sync_api.expect(page.page.locator("#problem")).to_contain_text("at most 5")
    assert page.page.query_selector("#similarity table") is None


def test_key_is_requested_and_sent(
    browser: Any, bundle_of_fake: Vectorizer, start_service: Any, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", "page")
    service = start_service(bundle_of_fake, api_keys_file=tmp_path / "keys.toml").ready()
    page = Page(browser, service.url)
    page.page.wait_for_selector("#key")
    assert page.page.query_selector("#model dd") is None
    page.page.fill("#key", key)
    page.page.wait_for_selector("#model dd")
    assert len(page.compare(["one", "two"])) == 2


def test_page_says_why_the_service_is_not_ready(
    browser: Any, bundle_of_fake: Vectorizer, start_service: Any
) -> None:
    service = start_service(bundle_of_fake, canary=True)
    service.wait_until(lambda: "canary" in (service.service.not_ready_reason() or ""))
    page = Page(browser, service.url)
    sync_api.expect(page.page.locator("#ready")).to_contain_text("canary")
    assert page.complaints == []


@pytest.fixture
def bundle_of_fake(vectorizer: Vectorizer) -> Vectorizer:
    return Vectorizer(vectorizer.bundle, FakeEngine(vectorizer.dimension))

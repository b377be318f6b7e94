"""A real Chromium for tests, the one that the system has; nothing is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Error,
    Page,
    Request,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; where there is none, the test that asks for it says so, and is skipped."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(
            "no Chromium on this machine: install it (apt-get install chromium) to test reports in it"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


def listen(page: Page, address: str, faults: list[str]) -> None:
    """What is said on the console or to people, what goes wrong, what the network is asked for."""

    def said(message: ConsoleMessage) -> None:
        faults.append(f"console: {message.text}")

    def failed(error: Error) -> None:
        faults.append(f"error: {error}")

    def asked(dialog: Dialog) -> None:
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def requested(request: Request) -> None:
        if not request.url.startswith((address, "data:,")):
            faults.append(f"request: {request.url}")

    page.on("console", said)
    page.on("pageerror", failed)
    page.on("dialog", asked)
    page.on("request", requested)


# The contrast of each text with what is behind it, the worst first.
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => { const part = one / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4 })
    .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => { for (let one = element; one; one = one.parentElement) {
    const colour = parse(getComputedStyle(one).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour; } return [255, 255, 255]; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.matches('script, style, noscript, title')) continue;
    const style = getComputedStyle(element);
    const inSvg = element.closest('svg') !== null;
    const front = parse(inSvg ? style.fill : style.color);
    const box = inSvg ? element.closest('.node').querySelector('.box') : null;
    const back = box ? parse(getComputedStyle(box).fill) : behind(element);
    const [a, b] = [light(front), light(back)].sort((one, other) => other - one);
    const name = element.className.baseVal ?? element.className;
    found.push([(a + 0.05) / (b + 0.05), name, element.tagName]);
  }
  return found.sort((one, other) => one[0] - other[0]);
}"""

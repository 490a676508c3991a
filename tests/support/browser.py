"""Debian's Chromium without a window, cut off from every network, and what goes wrong on a page."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import debian
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAM, PACKAGE = "/usr/bin/chromium", "chromium"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Raises debian.Unavailable where it is not installed and cannot be."""
    debian.install([PACKAGE], [PROGRAM])
    with sync_playwright() as started:
        # as root, and in a container, it has no sandbox
        browser = started.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@dataclass(frozen=True)
class Shown:
    """A page in a window. wrong: what its console said and what it asked of a network."""

    page: Page
    wrong: list[str] = field(default_factory=list)


@contextlib.contextmanager
def shown(browser: Browser, path: Path, width: int) -> Iterator[Shown]:
    """A file, once it says that it is ready."""
    page = browser.new_page(viewport={"width": width, "height": 900}, offline=True)
    found = Shown(page)
    page.on("console", lambda message: found.wrong.append(message.text))
    page.on("pageerror", lambda error: found.wrong.append(str(error)))
    own = (path.as_uri(), "blob:", "data:")
    page.on("request", lambda asked: None if asked.url.startswith(own) else found.wrong.append(asked.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    yield found
    page.close()

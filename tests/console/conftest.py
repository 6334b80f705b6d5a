"""A headless Chromium, and pages of it that are watched: for faults, and for requests to anywhere else."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

OpenPage = Callable[..., Awaitable["Page"]]
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests, with an empty profile of its own."""
    api = pytest.importorskip("playwright.async_api", reason="Playwright isn't installed: pip install playwright")
    binary = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if binary is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """`page = await open_page(url, width=390, color_scheme="dark")`: the page, when it shows its first figures."""
    faults: list[str] = []
    pages = []

    async def open_page(url: str, *, width: int = 1280, height: int = 900, **options: Any) -> Page:
        page = await browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if _is_fault(message) else None)
        page.on("request", lambda asked: None if asked.url.startswith(url) else faults.append(f"asked {asked.url}"))
        await page.goto(url)
        await page.wait_for_selector("#routes tbody tr")
        return page

    yield open_page
    for page in pages:
        await page.close()
    assert faults == []


def _is_fault(message: Any) -> bool:
    """A router that is away, or has nothing of a trace, is none: the page says so itself."""
    return message.type in ("error", "warning") and not message.text.startswith("Failed to load resource")

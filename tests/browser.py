"""A headless Chromium for tests that open a page; they skip where none is installed."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")


@contextmanager
def chromium():
    """A browser whose pages have no access to a display."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def open_report(browser, path, **options):
    """Open a report and wait for its charts: (page, requested addresses, errors)."""
    page = browser.new_page(**options)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(path.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('figure[data-chart]:not([data-drawn])').length === 0"
        " && document.documentElement.dataset.ready === 'yes'"
    )
    return page, requests, errors

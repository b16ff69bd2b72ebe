"""The built site on loopback, and Chromium without a window."""

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest
from playwright import sync_api as playwright

SITE = Path(__file__).parents[2] / "site"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def address():
    """The address of the built site, without a slash at the end."""
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def chromium():
    with playwright.sync_playwright() as library:
        browser = library.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=OPTIONS, headless=True
        )
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """A page of a new browser, with nothing cached, and what went wrong in it as `tab.complaints`."""
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda said: page.complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: page.complaints.append(f"error: {error}"))
        page.on("requestfailed", lambda request: page.complaints.append(f"failed: {request.url}"))
        page.on(
            "response", lambda answer: answer.status < 400 or page.complaints.append(f"{answer.status}: {answer.url}")
        )
        yield page

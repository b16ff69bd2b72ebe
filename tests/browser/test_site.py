"""Every page of the built site in Chromium: `make test-docs` builds it first."""

import re
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.browser.conftest import SITE

PAGES = sorted(str(path.relative_to(SITE)).removesuffix("index.html") for path in SITE.rglob("*.html"))
IDENTIFIER = re.compile(r"""\sid=["']?([^"'\s>]+)""")

MISSING_PICTURES = (
    "[...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
)
# The boxes that reach beyond the right edge of the window, except in a box that scrolls.
OVERFLOWING = """() => {
    const scrolls = box => ["auto", "scroll", "hidden"].includes(getComputedStyle(box).overflowX);
    const reaches = box => box.getBoundingClientRect().right > innerWidth + 1;
    const free = box => {
        while ((box = box.parentElement)) if (scrolls(box) && box !== document.body) return false;
        return true;
    };
    return [...document.querySelectorAll(".md-content *")].filter(box => reaches(box) && free(box))
        .map(box => box.outerHTML.slice(0, 100))
}"""


def test_there_is_a_site():
    assert {"", "concepts/", "api/layers/", "notebooks/first_pyramid/"} <= set(PAGES), "Run `make docs` first."


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_without_complaint(name, address, tab):
    tab.goto(f"{address}/{name}", wait_until="networkidle")
    assert tab.complaints == []
    assert tab.evaluate(MISSING_PICTURES) == []


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_site_lead_somewhere(name, address, tab):
    tab.goto(f"{address}/{name}")
    links = set(tab.evaluate("[...document.links].map(link => link.href)"))
    broken = []
    for link in links:
        if not link.startswith(address):
            continue
        target, anchor = urldefrag(link)
        path = SITE / unquote(urlsplit(target).path).lstrip("/")
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file() or (anchor and unquote(anchor) not in IDENTIFIER.findall(path.read_text())):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_on_a_phone(name, address, tab):
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(f"{address}/{name}", wait_until="networkidle")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.evaluate(OVERFLOWING) == []


def test_search_finds_a_layer(address, tab):
    tab.goto(address)
    query = tab.get_by_role("textbox", name="Search")
    query.click()
    query.press_sequentially("LearnableStrideConv2D")  # The page listens for keys, so `fill` may not start a search.
    result = tab.locator(".md-search-result__link", has_text="tfpyramid.layers.LearnableStrideConv2D").first
    result.click()
    tab.wait_for_url(re.compile("api/layers/.*#tfpyramid.layers.LearnableStrideConv2D$"))
    assert tab.locator("[id='tfpyramid.layers.LearnableStrideConv2D']").is_visible()
    assert tab.complaints == []

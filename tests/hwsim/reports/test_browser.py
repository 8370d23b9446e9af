"""Pages in a real browser: they load without a network or a complaint, show every name, sort, and fit a window and a phone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwsim.report import SimulationReport
from hwsim.reports.html import html_page

from .browser import Page, browser
from .systems import system_report
from .test_system_page import HOSTILE

#: Text that is cut off or that reaches out of the window: elements with words of their own.
OUTSIDE = """[...document.querySelectorAll("main *")].filter(one => !one.closest(".scroll") && one.checkVisibility()
  && [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())).filter(one => {
    const box = one.getBoundingClientRect();
    return box.left < -0.5 || box.right > innerWidth + 0.5 || (!one.ownerSVGElement && one.scrollWidth > one.clientWidth + 1
      && getComputedStyle(one).overflowX !== "visible");
  }).map(one => one.textContent)"""
#: Labels of one chart that lie upon each other.
OVERLAPS = """[...document.querySelectorAll("svg")].flatMap(svg => {
    const texts = [...svg.querySelectorAll(":scope > text, :scope > g > text")].filter(one => one.checkVisibility());
    const boxes = texts.map(one => one.getBoundingClientRect());
    return texts.flatMap((one, n) => boxes.slice(0, n).some(box => box.left < boxes[n].right - 1 && boxes[n].left < box.right - 1
      && box.top < boxes[n].bottom - 3 && boxes[n].top < box.bottom - 3) ? [one.textContent] : []);
  })"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


def image(page: Page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.picture())).convert("RGB"))


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (1280, True)])
def test_a_run(page: Page, tmp_path: Path, width: int, dark: bool) -> None:
    made, path = system_report(), tmp_path / "run.html"
    path.write_bytes(html_page(made))
    page.open(path, width, dark=dark)
    text = page.value("document.querySelector('main').innerText")
    assert all(layer.name in text for layer in made.layers)
    assert page.value(OUTSIDE) == [] and page.value(OVERLAPS) == []
    assert page.value("document.documentElement.scrollWidth") == width
    shown = image(page)
    assert shown.shape[1] == width and shown.shape[0] > 3000
    assert (shown[2, 2].mean() < 64) == dark
    assert len(Image.fromarray(shown).getcolors(1 << 24)) > 50
    # Every tenth of the page has something on it.
    assert all(part.std() > 3 for part in np.array_split(shown, 10))
    assert page.complaints == [] and {url.split(":")[0] for url in page.requests} <= {"file", "data"}


@pytest.mark.parametrize("width", [1280, 390])
def test_a_design(page: Page, tmp_path: Path, width: int, design_report: SimulationReport) -> None:
    path = tmp_path / "design.html"
    path.write_bytes(html_page(design_report))
    page.open(path, width)
    text = page.value("document.querySelector('main').innerText")
    assert all(block.name in text for block in design_report.blocks)
    assert page.value(OUTSIDE) == [] and page.value(OVERLAPS) == []
    assert image(page).std() > 10
    assert page.complaints == []


def test_a_click_on_a_heading_sorts(page: Page, tmp_path: Path) -> None:
    made, path = system_report(), tmp_path / "run.html"
    path.write_bytes(html_page(made))
    page.open(path)
    names = "[...document.querySelectorAll('#layer-table tbody tr')].map(row => row.cells[1].textContent)"
    click = "[...document.querySelectorAll('#layer-table th button')].find(one => one.textContent === '{}').click()"
    assert page.value(names) == [layer.name for layer in made.layers]
    page.value(click.format("cycles"))
    falling = [layer.name for layer in sorted(made.layers, key=lambda layer: -layer.cycles)]
    assert page.value(names) == falling
    page.value(click.format("cycles"))
    assert page.value(names) == [layer.name for layer in sorted(made.layers, key=lambda layer: layer.cycles)]
    assert page.value("document.querySelector('#layer-table [aria-sort]').getAttribute('aria-sort')") == "ascending"
    page.value(click.format("layer"))
    assert page.value(names) == sorted((layer.name for layer in made.layers), key=str.lower)
    page.value(click.format("#"))
    page.value(click.format("#"))
    assert page.value(names) == [layer.name for layer in made.layers]


def test_pointing_at_a_mark_tells_its_numbers(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_bytes(html_page(system_report()))
    page.open(path)
    x, y = page.value("(() => { const box = document.querySelector('#time-bars rect').getBoundingClientRect(); "
                      "return [box.left + 5, box.top + 5]; })()")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert page.value("document.querySelector('#tip').innerText").startswith("conv1\narray: 256,076 cycles")
    assert page.complaints == []


def test_hostile_names_run_nothing(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_bytes(html_page(system_report(network=HOSTILE[0] + HOSTILE[1] + HOSTILE[2], notes=HOSTILE)))
    page.open(path)
    assert page.value("document.scripts.length") == 1 and page.value("document.images.length") == 0
    assert page.complaints == []


def test_it_prints(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_bytes(html_page(system_report()))
    page.open(path)
    printed = page.printed()
    assert printed.startswith(b"%PDF") and 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 12

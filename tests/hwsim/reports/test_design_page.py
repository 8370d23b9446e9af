"""The page of a generated design: its bars, rows over time and table are the report's and the simulator's."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise

import numpy as np
import pytest

from hwsim.design import Design
from hwsim.report import SimulationReport, simulate_report
from hwsim.reports.charts import area
from hwsim.reports.html import html_page

from .pages import Element, parse
from .test_system_page import HOSTILE, figures, percent, rects


@pytest.fixture(scope="module")
def page(design_report: SimulationReport) -> Element:
    return parse(html_page(design_report))


def working(design_report: SimulationReport) -> list[int]:
    return [number for number, block in enumerate(design_report.blocks) if block.engine not in ("fifo", "fork")]


def test_headline_figures(page: Element, design_report: SimulationReport) -> None:
    t = design_report.totals
    assert figures(page) == {
        "frames per second": design_report.frames_per_second, "first-output latency": design_report.latency_us,
        "operations": t["operations"] * design_report.frames_per_second, "parameters on chip": t["weight_bytes"] + t["threshold_bytes"],
        "LUTs": t["luts"], "block RAMs": t["brams"], "DSPs": t["dsps"], "at the ports": design_report.input_bytes + design_report.output_bytes}


def test_work_bars_are_what_the_simulator_fired(page: Element, design_report: SimulationReport, design: Design) -> None:
    trace = design.simulate(5)
    for (value, pieces), number in zip(rects(page, "work-bars"), working(design_report), strict=True):
        assert value.number == trace.fired[number]
        wanted = {"work": trace.fired[number], "blocked": trace.blocked[number], "starved": trace.starved[number]}
        assert {colour: width for colour, _, width in pieces} == pytest.approx(
            {colour: 100 * cycles / trace.total_cycles for colour, cycles in wanted.items() if cycles}, abs=1e-3)


def outline(path: Element) -> list[tuple[float, float, float]]:
    """(start, end, height) of the steps of an area."""
    at, height, steps = 0.0, 0.0, []
    for letter, number in re.findall(r"([MHV])([\d.]+)", path.attributes["d"] or ""):
        if letter == "V":
            height = 100 - float(number)
        elif letter == "H":
            steps.append((at, float(number), height))
            at = float(number)
    return steps


def test_areas_over_time_are_the_history(page: Element, design_report: SimulationReport) -> None:
    history = design_report.history
    assert history is not None
    rows = list(page.one("div", id="activity-tracks").all("div"))[:-1]
    for row, number in zip(rows, working(design_report), strict=True):
        assert row.one("span", class_="label").text == design_report.blocks[number].name
        work = row.one("path", class_="work")
        assert sum((end - start) * height / 100 for start, end, height in outline(work)) == pytest.approx(history.busy[:, number].sum())
        assert row.one("svg", class_="areas").attributes["viewbox"] == f"0 0 {history.total_cycles} 100"
    queues = [number for number, block in enumerate(design_report.blocks) if block.engine == "fifo"]
    for row, number in zip(list(page.one("div", id="queue-tracks").all("div"))[:-1], queues, strict=True):
        depth = design_report.blocks[number].fifo_depth
        assert row.one("span", class_="top").text == f"{history.peak_words[:, number].max()} of {depth}"
        heights = np.concatenate([np.full(int(end - start), height) for start, end, height in outline(row.one("path"))])
        assert heights == pytest.approx(100 * history.peak_words[:, number] / (depth or 1), abs=0.06)


def test_an_area_joins_equal_steps() -> None:
    made = area("x", [2, 4, 7, 9], [50, 50, 0, 100])
    assert made.outline == "M0 100V50H4V100H7V0H9V100z"


def test_frames_stand_where_the_history_says(page: Element, design_report: SimulationReport) -> None:
    history = design_report.history
    assert history is not None
    rows = list(page.one("div", id="frame-tracks").all("div"))[:-1]
    end = history.port_cycles[:, 1].max() + 1
    assert [row.one("span", class_="label").text for row in rows] \
        == [f"frame {n}, port to port" for n in range(1, 6)] + [design_report.blocks[number].name for number in working(design_report)]
    for row, number in zip(rows[5:], working(design_report), strict=True):
        pieces = [rect for rect in row.all("rect") if rect.attributes["class"] != "bed"]
        assert [percent(one.attributes["x"]) for one in pieces] \
            == pytest.approx([100 * start / end for start, _ in history.frame_cycles[number]], abs=1e-3)


def test_many_frames_are_not_all_drawn(design: Design) -> None:
    page = parse(html_page(simulate_report(design, 500, history=True)))
    assert len([row for row in page.one("div", id="frame-tracks").all("div") if "port to port" in row.text]) == 8
    assert len(html_page(simulate_report(design, 500, history=True))) < 200_000


def test_the_table_holds_the_blocks(page: Element, design_report: SimulationReport) -> None:
    rows = [[cell.text for cell in row.all("td")][1:4] for row in page.one("table", id="block-table").one("tbody").all("tr")]
    assert rows == [[block.name, block.engine, block.layer] for block in design_report.blocks]
    luts = [float(cell.attributes["data-value"] or "") for row in page.one("table", id="block-table").one("tbody").all("tr")
            for cell in list(row.all("td"))[-3:-2]]
    assert luts == [block.luts for block in design_report.blocks]
    assert [value.number for value, _ in rects(page, "resources-1")] == [block.luts for block in design_report.blocks if block.luts]
    assert sum(value.number for value, _ in rects(page, "traffic-bars")) == pytest.approx(sum(
        design_report.totals[key] for key in ("stream_in_bytes", "stream_out_bytes", "weight_read_bytes", "threshold_read_bytes",
                                       "buffer_read_bytes", "buffer_write_bytes")))


def test_without_a_history_there_is_a_page_too(design: Design) -> None:
    plain = simulate_report(design)
    page = parse(html_page(plain))
    assert not list(page.all("section", id="frames"))
    assert [value.number for value, _ in rects(page, "queue-bars")] == [block.fifo_depth for block in plain.blocks if block.fifo_depth]


def test_the_pace_is_set_by_the_slowest(page: Element, design_report: SimulationReport) -> None:
    slowest = max(design_report.blocks[number].cycles for number in working(design_report))
    named = re.search(r"The pace is set by (.*), which need", page.one("section", id="work").text)
    assert named is not None
    assert named[1].split(", ") == [design_report.blocks[n].name for n in working(design_report) if design_report.blocks[n].cycles == slowest]


def test_hostile_names_stay_text(design_report: SimulationReport) -> None:
    blocks = tuple(dataclasses.replace(block, layer=HOSTILE[n % len(HOSTILE)]) for n, block in enumerate(design_report.blocks))
    page = parse(html_page(dataclasses.replace(design_report, network=HOSTILE[0], blocks=blocks)))
    assert len(list(page.all("script"))) == 1 and not list(page.all("img"))
    assert page.one("h1").text.startswith(HOSTILE[0])


def test_rows_follow_each_other(page: Element) -> None:
    """Bars of a chart have one row each, in order: what a row shows is never under another's name."""
    tops = [int(cell.text) for row in page.one("table", id="block-table").one("tbody").all("tr") for cell in list(row.all("td"))[:1]]
    assert all(b == a + 1 for a, b in pairwise(tops))

"""The page of a run on a machine: every number equals the report's, nothing comes from outside, names stay names."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import re

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.reports import html
from hwsim.reports.html import html_page
from hwsim.reports.roofline import LogAxis, numbers, roofline
from hwsim.reports.system_page import CAUSES
from hwsim.reports.units import si
from hwsim.systems.report import SystemReport

from .pages import Element, parse
from .systems import system_report


@pytest.fixture(scope="module")
def report() -> SystemReport:
    return system_report()


@pytest.fixture(scope="module")
def page(report: SystemReport) -> Element:
    return parse(html_page(report))


def percent(text: str | None) -> float:
    assert text is not None and text.endswith("%")
    return float(text[:-1])


def figures(page: Element) -> dict[str, float]:
    return {one.one("dt").text: one.one("data").number for one in page.all("div", class_="figure")}


def test_headline_figures(page: Element, report: SystemReport) -> None:
    assert figures(page) == {
        "frames per second": report.frames_per_second, "time": report.seconds, "energy": report.total_pj * 1e-12,
        "mean power": pytest.approx(report.total_pj * 1e-12 / report.seconds),
        "utilisation": pytest.approx(report.macs / (report.cycles * report.peak_macs)), "DRAM traffic": report.dram_bytes,
        "intensity": report.macs / report.dram_bytes,
        "waits": sum(sum(layer.stall_cycles.values()) for layer in report.layers) / report.cycles}


def test_the_table_holds_the_layers(page: Element, report: SystemReport) -> None:
    table = page.one("table", id="layer-table")
    names = [head.text for head in table.all("th")]
    rows = [dict(zip(names, row.all("td"), strict=True)) for row in table.one("tbody").all("tr")]
    assert len(rows) == len(report.layers)

    def number(cell: Element) -> float:
        return float(cell.attributes["data-value"] or "")

    for place, (row, layer) in enumerate(zip(rows, report.layers, strict=True), 1):
        assert [row[name].text for name in ("layer", "kind", "arithmetic", "algorithm", "mapping")] \
            == [layer.name, layer.kind, layer.arithmetic, layer.algorithm, layer.mapping]
        assert row["bound by"].text == layer.bound.replace("_", " ")
        assert [number(row[name]) for name in ("#", "MACs", "cycles", "array cycles", "utilisation", "DRAM read", "DRAM write")] \
            == [place, layer.macs, layer.cycles, layer.array_cycles, layer.utilisation, layer.bytes_at("dram", "read"),
                layer.bytes_at("dram", "write")]
        assert number(row["energy"]) == layer.total_pj * 1e-12
        assert number(row["time"]) == layer.cycles / (report.clock_mhz * 1e6)
        assert number(row["DRAM peak"]) == layer.dram_peak_gb_per_s * 1e9
        assert number(row["MAC/B"]) == (layer.macs_per_dram_byte if layer.macs else -1)


def rects(page: Element, chart: str) -> list[tuple[Element, list[tuple[str, float, float]]]]:
    """Of each row of a bar chart: its value, and (colour, start, width) of its pieces."""
    return [(row.one("data"), [(rect.attributes["class"] or "", percent(rect.attributes["x"]), percent(rect.attributes["width"]))
                               for rect in row.all("rect")])
            for row in page.one("div", id=chart).all("div", class_="row")]


def test_bars_of_time_are_the_cycles(page: Element, report: SystemReport) -> None:
    longest = max(layer.cycles for layer in report.layers)
    for (value, pieces), layer in zip(rects(page, "time-bars"), report.layers, strict=True):
        parts = {"array": layer.array_cycles, **layer.stall_cycles}
        expected = [(CAUSES[cause], 100 * parts[cause] / longest) for cause in CAUSES if parts.get(cause)]
        assert value.number == layer.cycles
        assert [colour for colour, _, _ in pieces] == [colour for colour, _ in expected]
        assert [width for _, _, width in pieces] == pytest.approx([width for _, width in expected], abs=1e-3)
        assert [start for _, start, _ in pieces] == pytest.approx([sum(w for _, w in expected[:n]) for n in range(len(expected))], abs=1e-2)


def test_bars_of_energy_and_dram_are_the_reports(page: Element, report: SystemReport) -> None:
    greatest = max(layer.total_pj for layer in report.layers)
    for (value, pieces), layer in zip(rects(page, "energy-bars"), report.layers, strict=True):
        assert value.number == layer.total_pj * 1e-12
        assert sum(width for _, _, width in pieces) == pytest.approx(100 * layer.total_pj / greatest, abs=0.01)
    assert sum(value.number for value, _ in rects(page, "energy-components")) == pytest.approx(report.total_pj * 1e-12)
    assert [value.number for value, _ in rects(page, "dram-bars")] == [layer.bytes_at("dram") for layer in report.layers]


def test_levels_are_sums_over_the_layers(page: Element, report: SystemReport) -> None:
    shown = {}
    for number, head in enumerate(page.one("div", class_="levels").all("h3"), 1):
        for row in page.one("div", id=f"level-{number}").all("div", class_="row"):
            shown[head.text.split(":")[0], row.one("span", class_="label").text] = row.one("data").number
    wanted: dict[tuple[str, str], float] = {}
    for layer in report.layers:
        for one in layer.traffic:
            wanted[one.level, one.direction] = wanted.get((one.level, one.direction), 0.0) + one.bytes
    assert shown == pytest.approx(wanted)
    assert next(iter(shown))[0] == "dram"


def test_the_roofline_is_where_it_must_be(report: SystemReport) -> None:
    made = roofline(report, CAUSES)
    peak, bandwidth = report.peak_macs * report.clock_mhz * 1e6, report.dram_gb_per_s * 1e9
    slope, flat = made.roofs
    # A point on the slope has MACs/s = bandwidth * MACs/B; both axes are known from two ticks.
    (x1, name1), (x2, name2) = [(percent(tick.at), float(tick.label.replace(",", ""))) for tick in made.x_ticks[:2]]
    ridge = name1 * (name2 / name1) ** ((percent(slope.x2) - x1) / (x2 - x1))
    assert ridge == pytest.approx(peak / bandwidth, rel=1e-3)
    assert (flat.y1, flat.x2) == (flat.y2, "100%") and slope.y2 == flat.y1
    assert {name for circle in made.circles for name in re.findall(r"^\d+ (\S+)$", circle.tip, re.M)} \
        == {layer.name for layer in report.layers if layer.macs}
    (y1, rate1), (y2, rate2) = [(percent(tick.at), float(tick.label.split()[0]) * {"G": 1e9, "T": 1e12}[tick.label.split()[1][0]])
                                for tick in made.y_ticks[:2]]
    layers = {layer.name: layer for layer in report.layers}
    for circle in made.circles:
        first = layers[circle.tip.split("\n")[0].split(" ", 1)[1]]
        x = name1 * (name2 / name1) ** ((percent(circle.x) - x1) / (x2 - x1))
        y = rate1 * (rate2 / rate1) ** ((percent(circle.y) - y1) / (y2 - y1))
        assert x == pytest.approx(first.macs / first.bytes_at("dram"), rel=1e-3)
        assert y == pytest.approx(first.macs / (first.cycles / (report.clock_mhz * 1e6)), rel=1e-3)
        # Nothing is above a roof.
        assert percent(circle.y) >= percent(flat.y1) - 1e-6
        assert x * bandwidth >= peak or percent(circle.y) >= percent(slope.y2) - 1e-6
    assert made.left_out == ()


def test_layers_without_dram_are_named_beside_the_roofline(report: SystemReport) -> None:
    first = dataclasses.replace(report.layers[0], traffic=())
    page = parse(html_page(dataclasses.replace(report, layers=(first, *report.layers[1:]))))
    assert "move nothing to or from DRAM: conv1." in page.one("section", id="roofline").text


def test_time_runs_through_all_layers(page: Element, report: SystemReport) -> None:
    rows = list(page.one("div", id="tracks").all("div"))
    pieces = [rect for rect in rows[0].all("rect") if rect.attributes["class"] != "bed"]
    assert [percent(one.attributes["x"]) for one in pieces] \
        == pytest.approx([100 * layer.start_cycle / report.cycles for layer in report.layers], abs=1e-3)
    assert [row.one("span", class_="label").text for row in rows] == [
        "layers", "array busy", "DRAM bandwidth", "unified buffer in use", "weight memory in use", "power", "time"]


def test_one_file_without_a_network(report: SystemReport) -> None:
    data = html_page(report)
    text, page = data.decode(), parse(data)
    assert len(data) < 200_000
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert {one.attributes["href"] for one in page.all("link")} == {"data:,"}
    assert not [one for one in page.all() if "src" in one.attributes or any(key.startswith("on") for key in one.attributes)]
    script = page.one("script").text
    (policy,) = [one for one in page.all("meta") if one.attributes.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.attributes["content"] == \
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"


def test_the_same_report_gives_the_same_bytes(report: SystemReport) -> None:
    assert html_page(report) == html_page(system_report())


HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</title></style></script><b>", "&lt;b&gt;", "{{ 7 * 7 }}",
           "a" * 3000, "'; DROP TABLE", "</svg>", "\ud800", "日本語 مرحبا")


def test_hostile_names_stay_text(report: SystemReport) -> None:
    layers = tuple(dataclasses.replace(layer, name=HOSTILE[n % len(HOSTILE)], mapping=HOSTILE[-n % len(HOSTILE)],
                                       energy_pj={HOSTILE[n % 3]: 1.0}, footprint_bytes={HOSTILE[1]: 5.0})
                   for n, layer in enumerate(report.layers))
    made = system_report(network=HOSTILE[0], machine=HOSTILE[1], energy_table=HOSTILE[2], memory_model=HOSTILE[0], notes=HOSTILE[:5],
                         layers=layers)
    page = parse(html_page(made))
    assert len(list(page.all("script"))) == 1 and not list(page.all("img")) and not list(page.all("b"))
    names = [row.text for row in page.one("table", id="layer-table").all("td", class_="name")]
    assert names == [layer.name.encode("utf-8", "backslashreplace").decode() for layer in layers]
    assert page.one("h1").text == f"{HOSTILE[0]} on {HOSTILE[1]}"


def test_a_name_that_a_view_lacks_is_an_error(report: SystemReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html.system_page, "view", lambda report: {"title": "x"})
    with pytest.raises(jinja2.UndefinedError):
        html_page(report)


def test_several_frames_and_a_layer_that_takes_no_time(report: SystemReport) -> None:
    empty = dataclasses.replace(report.layers[1], name="reshape", cycles=0, array_cycles=0, stall_cycles={}, traffic=(), energy_pj={},
                                footprint_bytes={})
    made = system_report(batch=4, layers=(*report.layers, dataclasses.replace(empty, start_cycle=report.cycles)))
    page = parse(html_page(made))
    assert figures(page)["frames per second"] == 4 / report.seconds
    assert "4 frames, 21 layers" in page.one("p", class_="lead").text


@given(st.floats(1e-14, 1e17))
def test_si_keeps_three_digits(value: float) -> None:
    text = si(value, "J")
    number, prefix = re.fullmatch(r"([\d.]+) ([fpnµmkMGTPE]?)J", text).groups()  # type: ignore[union-attr]
    factor = 1000.0 ** ("fpnµm kMGTPE".index(prefix) - 5 if prefix else 0)
    assert float(number) * factor == pytest.approx(value, rel=5.1e-3)
    assert len(number.replace(".", "").lstrip("0")) <= 4


@given(st.lists(st.floats(1e-9, 1e15), min_size=1, max_size=5))
def test_log_axes_hold_their_values_and_have_marks(values: list[float]) -> None:
    axis = LogAxis.around(values)
    assert all(0 <= axis.at(value) <= 100 for value in values)
    ticks = list(axis.ticks("MAC/s"))
    assert 1 <= len(ticks) <= 9 and all(0 <= at <= 100 for at, _ in ticks)


@settings(max_examples=50)
@given(st.sets(st.integers(1, 30), min_size=1, max_size=6))
def test_numbers_name_each_once(values: set[int]) -> None:
    named = [int(part) for group in numbers(sorted(values)).split(", ")
             for part in (range(int(group.split("–")[0]), int(group.split("–")[1]) + 1) if "–" in group else [group])]
    assert named == sorted(values)


def test_labels_of_the_roofline_do_not_touch(report: SystemReport) -> None:
    made = roofline(report, CAUSES)
    for width, height, narrow in ((1040.0, 380.0, False), (290.0, 300.0, True)):
        boxes = []
        for circle in made.circles:
            if circle.anchor and not (narrow and circle.only_wide):
                x = percent(circle.x) / 100 * width + float(circle.dx)
                y, length = percent(circle.y) / 100 * height + float(circle.dy), 6.5 * len(circle.label)
                left = {"start": x, "end": x - length, "middle": x - length / 2}[circle.anchor]
                boxes.append((left, y - 9, left + length, y))
        assert len(boxes) >= 4
        for n, a in enumerate(boxes):
            assert a[0] >= 0 and a[2] <= width
            assert not [b for b in boxes[:n] if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]]
    assert math.isfinite(sum(float(circle.radius) for circle in made.circles))

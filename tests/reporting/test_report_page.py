"""The page of a report: complete, escaped, self-contained, and usable in a browser."""

import json
import re

import altair
import made_up_report
import pytest
from browser import chromium, needs_chromium, open_report

from workbench.reporting.report.adaptation_page import adaptation_page
from workbench.reporting.report.comparison_page import comparison_page
from workbench.reporting.report.html import json_in_html, render
from workbench.reporting.report.page import Chart

HOSTILE = (
    "<script>window.hacked=1</script>",
    "</script><img src=x onerror=window.hacked=1>",
    "\x1b[31mred\x1b[0m \u202eright to left",
    "{{ 7 * 7 }}" + "x" * 900,
)


def page(**changed):
    return adaptation_page(made_up_report.report(**changed))


def charts(html):
    found = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    return [json.loads(text) for text in found]


def test_every_chart_is_valid_vega_lite_and_has_data():
    one, other = made_up_report.report(), made_up_report.report(recommended="full-fine")
    pages = [adaptation_page(one), comparison_page([("one", one), ("other", other)])]
    found = [
        block for each in pages for section in each.sections for block in section.blocks
        if isinstance(block, Chart)
    ]  # fmt: skip
    assert len(found) == 7
    for chart in found:
        for view in chart.views:
            assert view.rows
            spec = {**chart.spec, "data": {"values": list(view.rows)}}
            altair.Chart.from_dict(spec, validate=True)
            assert all(row["words"] for row in view.rows)


def test_the_page_has_all_its_parts_and_is_small():
    html = render(page())
    titles = re.findall(r'<h2 id="(.*?)"', html)
    assert titles == [
        "networks", "trade", "exits", "filters", "layers", "training", "confusion", "images",
        "calibration", "origin", "missing",
    ]  # fmt: skip
    assert len(html.encode()) < 5e6
    assert "workbench adapt --source zoo --target pets" in html


def test_parts_without_data_are_left_out():
    html = render(page(recipe=None, exits=(), correlations=(), trainings=(), answers=None))
    titles = re.findall(r'<h2 id="(.*?)"', html)
    assert titles == ["networks", "trade", "origin", "missing"]


def test_a_thousand_classes_and_200_layers_stay_small():
    classes = tuple(f"class {n}" for n in range(1000))
    layers = tuple(f"layer.{n}" for n in range(200))
    assert len(render(page(classes=classes, layers=layers)).encode()) < 5e6


@pytest.mark.parametrize("text", HOSTILE)
def test_json_in_a_script_cannot_end_it(text):
    inside = json_in_html({"a": text})
    assert not set("<>&") & set(inside)
    assert json.loads(inside) == {"a": text}


def hostile_page():
    report = made_up_report.report(
        classes=HOSTILE[:3],
        layers=HOSTILE,
        title=HOSTILE[0],
        verdict=HOSTILE[1],
        notes=HOSTILE,
        facts=[("command", HOSTILE[3]), ("target", HOSTILE[1])],
        missing=HOSTILE,
    )
    return adaptation_page(report)


def test_text_of_users_is_escaped():
    html = render(hostile_page())
    body = re.sub(r"<script>.*?</script>", "", html[html.index("<body>") :], flags=re.DOTALL)
    assert "window.hacked=1</script>" not in body
    assert "<img src=x" not in body
    assert "&lt;script&gt;window.hacked=1&lt;/script&gt;" in body
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "{{ 7 * 7 }}" in body


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(page()), encoding="utf-8")
    return path


@needs_chromium
def test_charts_are_drawn_and_nothing_is_fetched(browser, written):
    opened, requests, errors = open_report(browser, written)
    assert errors == []
    assert {request.partition(":")[0] for request in requests} <= {"file", "data"}
    assert sum(request.startswith("file:") for request in requests) == 1
    marks = opened.evaluate(
        "[...document.querySelectorAll('figure[data-chart]')].map((figure) => "
        "[...figure.querySelectorAll('[role=graphics-symbol] , [role=graphics-symbol] path')]"
        ".filter((mark) => mark.getAttribute('aria-label')).length)"
    )
    assert len(marks) == 5
    assert min(marks) >= 3
    opened.close()


@needs_chromium
def test_the_policy_stops_requests_and_other_scripts(browser, written):
    opened, *_ = open_report(browser, written)
    rejected = """(act) => new Promise((done) => {
        document.addEventListener("securitypolicyviolation", (event) =>
            done(event.effectiveDirective));
        if (act === "fetch") fetch("https://example.org").catch(() => setTimeout(done, 1000));
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        if (act === "script") document.body.append(script);
    })"""
    assert opened.evaluate(rejected, "fetch") == "connect-src"
    assert opened.evaluate(rejected, "script") == "script-src-elem"
    assert opened.evaluate("window.hacked") is None
    opened.close()


@needs_chromium
def test_hostile_text_runs_no_script(browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render(hostile_page()), encoding="utf-8")
    opened, requests, errors = open_report(browser, path, viewport={"width": 390, "height": 800})
    assert errors == []
    assert opened.evaluate("window.hacked") is None
    assert opened.evaluate("document.querySelectorAll('img:not([src^=data])').length") == 0
    assert len([request for request in requests if not request.startswith("data:")]) == 1
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    opened.close()


def column(opened, place):
    return opened.evaluate(
        "(place) => [...document.querySelector('table.sortable').tBodies[0].rows]"
        ".map((row) => row.cells[place].textContent)",
        place,
    )


@needs_chromium
def test_the_table_is_sorted_by_click_and_by_keyboard(browser, written):
    opened, *_ = open_report(browser, written)
    table = opened.locator("table.sortable").first
    before = column(opened, 0)
    assert before == ["full-fine", "pfa-fine", "pfa-fine int8"]
    table.get_by_role("button", name="accuracy").click()
    assert column(opened, 0) == ["pfa-fine int8", "pfa-fine", "full-fine"]
    heading = table.locator("th").nth(1)
    assert heading.get_attribute("aria-sort") == "ascending"
    opened.keyboard.press("Enter")  # the button has the focus
    assert column(opened, 0) == ["full-fine", "pfa-fine", "pfa-fine int8"]
    assert heading.get_attribute("aria-sort") == "descending"
    for _ in ("ascending", "descending"):
        table.get_by_role("button", name="latency").click()
        assert column(opened, 7)[-1] == "-"  # not measured: last in both orders
    table.get_by_role("button", name="parameters").focus()
    opened.keyboard.press("Space")
    assert column(opened, 5)[-1].startswith("1.00 k")
    assert heading.get_attribute("aria-sort") is None
    opened.close()


@needs_chromium
def test_choosers_change_charts_pictures_and_matrices(browser, written):
    opened, *_ = open_report(browser, written)
    title = "document.querySelector('#trade ~ figure .chart svg').textContent"
    assert "FLOPs of one image" in opened.evaluate(title)
    opened.locator("[data-chooser=trade-1]").select_option("bytes")
    opened.wait_for_function(f"{title}.includes('bytes of the file')")
    visible = "[...document.querySelectorAll('[data-group=layer][data-choice]')]"
    visible += ".filter((part) => !part.hidden).map((part) => part.dataset.choice)"
    assert opened.evaluate(visible) == ["first"]
    opened.locator("[data-chooser=layer]").select_option("second")
    assert opened.evaluate(visible) == ["second"]
    shown = opened.locator(".pair table:visible caption").all_text_contents()
    assert [text.partition(":")[0] for text in shown] == ["full-fine", "pfa-fine"]
    opened.locator("[data-chooser=confusion-1-first]").select_option("pfa-fine")
    shown = opened.locator(".pair table:visible caption").all_text_contents()
    assert [text.partition(":")[0] for text in shown] == ["pfa-fine", "pfa-fine"]
    opened.close()


@needs_chromium
def test_dark_mode_changes_page_and_charts_but_not_print(browser, written):
    def colours(opened):
        return opened.evaluate(
            "[getComputedStyle(document.body).backgroundColor, "
            "getComputedStyle(document.querySelector('.chart svg text')).fill]"
        )

    opened, *_ = open_report(browser, written, color_scheme="light")
    light = colours(opened)
    opened.emulate_media(color_scheme="dark")
    dark = colours(opened)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    opened.emulate_media(media="print", color_scheme="dark")
    assert colours(opened) == light
    opened.close()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_accessible_and_fits_its_window(browser, written, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    size = {"width": width, "height": 800}
    opened, *_ = open_report(browser, written, viewport=size, color_scheme=scheme)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(opened).response["violations"]
    serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
    assert serious == []
    opened.close()

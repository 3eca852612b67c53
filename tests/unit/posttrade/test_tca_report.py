"""The report page: complete in itself, everything escaped, readable without seeing the charts."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.models import Currency
from qtinfra.posttrade import tca_charts as charts
from qtinfra.posttrade.tca_page import chart, compact, milliseconds, money, named, signed, table
from qtinfra.posttrade.tca_report import _ORDERS, report
from tests.unit.posttrade.story import D, Story, at, book, schedule_of, twap_day

pytestmark = pytest.mark.unit

EVIL = "<script>alert('x')</script>\"&"
VOID = {"meta"}


class Reader(HTMLParser):
    """Every tag with its attributes; complains about tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    return report(twap_day(parents=3, slices=10).analysed(), "algos.sqlite")


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_nests_and_fetches_nothing(page: str) -> None:
    reader = read(page)
    names = {name for _, attributes in reader.tags for name in attributes}
    assert names.isdisjoint({"src", "href", "action", "background", "onclick"})
    assert {tag for tag, _ in reader.tags}.isdisjoint({"img", "link", "iframe", "object", "a", "form"})
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", page)


def test_only_the_pages_own_script_may_run(page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_every_chart_has_a_title_and_a_description_and_is_sound_xml(page: str) -> None:
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) == 4 + 3
    for one in drawn:
        root = ElementTree.fromstring(one)
        assert root.get("role") == "img"
        texts = [root.findtext(f"{{http://www.w3.org/2000/svg}}{name}") for name in ("title", "desc")]
        assert all(texts)
        assert not re.search(r"\b(nan|inf)\b", one)


def test_every_table_has_a_name_and_headings_that_sort(page: str) -> None:
    reader = read(page)
    tables = [attributes for tag, attributes in reader.tags if tag == "table"]
    heads = [attributes for tag, attributes in reader.tags if tag == "th"]
    assert len(tables) >= 5
    assert all(attributes.get("aria-label") for attributes in tables)
    assert all(attributes.get("scope") == "col" for attributes in heads)
    assert len([tag for tag, _ in reader.tags if tag == "button"]) == len(heads)


def test_names_from_outside_are_escaped_wherever_they_stand() -> None:
    story = Story(EVIL)
    story.accept(0, EVIL, "100", symbol=EVIL, trader=EVIL, seen=book(EVIL, "9.99", "10.01"))
    story.route(0, EVIL, "C1", "100", "9.99", "10.01", venue=EVIL)
    story.fill(1, EVIL, "C1", "100", "10.01", venue=EVIL)
    terms = AlgoTerms(EVIL, at(0), at(60))
    story.plan(0, EVIL, terms, schedule_of("TWAP", 1))
    shown = report(story.analysed(), EVIL)
    read(shown)
    assert EVIL not in shown
    assert shown.count("<script>") == 1
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;" in shown


def test_a_journal_without_orders_gives_a_page_that_says_so() -> None:
    shown = report(Story().analysed(), "empty.sqlite")
    read(shown)
    assert "No order could be measured." in shown
    assert "No algo worked an order in this journal." in shown


def test_the_headline_numbers_are_those_of_the_tables(page: str) -> None:
    tca = twap_day(parents=3, slices=10).analysed()
    total = tca.total.to_dicts()[0]
    assert f"<b>{signed(total['total_bps'])} bp</b>" in page
    assert f"USD {money(total['total'])}, 3 orders" in page
    assert f"<b>USD {compact(total['notional'])}</b>" in page


def test_the_currency_is_a_column_only_where_there_are_several() -> None:
    one = report(twap_day(parents=1, slices=5).analysed(), "j")
    assert "amounts in USD" in one
    assert ">currency</button>" not in one
    euro = Story("ABC", currency=Currency.EUR)
    dollar = Story("XYZ")
    for story, symbol, name in ((euro, "ABC", "A"), (dollar, "XYZ", "B")):
        story.accept(0, name, "100", symbol=symbol, seen=book(symbol, "9.99", "10.01"))
        story.route(0, name, f"C{name}", "100", "9.99", "10.01")
    euro.entries += dollar.entries
    both = report(euro.analysed(), "j")
    assert "amounts in EUR, USD" in both
    assert ">currency</button>" in both


def test_a_table_leaves_out_columns_in_which_nothing_is_known() -> None:
    row = dict.fromkeys(column.field for column in _ORDERS)
    shown = table("t", _ORDERS, [{**row, "cl_ord_id": "A", "qty": D(5)}])
    assert re.findall(r'<button type="button">(.*?)</button>', shown) == ["order", "units"]


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_axis_marks_are_round_and_span_what_they_shall(low: float, width: float) -> None:
    high = low + width
    marks = charts.ticks(low, high)
    assert marks == sorted(marks)
    assert 2 <= len(marks) <= 9
    slack = (marks[1] - marks[0]) * 1e-6 + 1e-9
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack


def test_numbers_are_written_with_their_sign_and_without_a_negative_nothing() -> None:
    assert [signed(x) for x in (1.234, -1.234, 0.001, -0.001)] == ["+1.23", "−1.23", "0.00", "0.00"]
    assert [money(D(x)) for x in ("1234.5", "-0.001", "-7")] == ["1,234.50", "0.00", "−7.00"]
    assert [compact(D(x)) for x in ("999", "12345", "1234567")] == ["999", "12.3k", "1.2M"]
    assert [milliseconds(x) for x in (0.5, 12.345, 1234.5)] == ["0.5", "12.3", "1,234"]
    assert [charts.number(x) for x in (0.25, 1500, -2e6)] == ["0.25", "1.5k", "-2M"]


def test_a_chart_of_equal_values_is_drawn() -> None:
    assert "2 orders" in charts.histogram("t", [0.0, 0.0], "bp")
    assert "<rect" in charts.histogram("t", [5.0], "bp")


def test_costs_and_gains_have_colours_of_their_own_in_the_histogram() -> None:
    drawn = charts.histogram("t", [-3.0, -3.0, 4.0], "bp")
    boxes = re.findall(r'<rect class="b(\d)" x="([\d.]+)"', drawn)
    assert [colour for colour, _ in sorted(boxes, key=lambda box: float(box[1]))] == ["3", "2"]


def test_parts_of_a_cost_are_stacked_on_their_side_of_zero() -> None:
    drawn = charts.stacked_bars("t", [("A", (1.0, -2.0, 3.0, 0.0), 2.0)], ("a", "b", "c", "d"))
    shape = re.compile(r'<rect class="b\d" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*><title>A: (.)')
    boxes = {part: (float(x), float(width)) for x, width, part in shape.findall(drawn)}
    assert set(boxes) == {"a", "b", "c"}
    zero = boxes["a"][0]
    assert boxes["b"][0] + boxes["b"][1] == pytest.approx(zero, abs=0.2)
    assert boxes["c"][0] == pytest.approx(zero + boxes["a"][1], abs=0.2)
    assert boxes["c"][1] == pytest.approx(3 * boxes["a"][1], abs=0.3)


def test_charts_scroll_where_a_screen_is_too_narrow_to_read_them_and_no_algo_is_said_in_words() -> None:
    assert chart("Costs & more", "<svg></svg>") == (
        '<div class="scroll" tabindex="0" role="region" aria-label="Costs &amp; more"><svg></svg></div>'
    )
    assert [named("algo")(name) for name in ("TWAP", "")] == ["TWAP", "no algo"]

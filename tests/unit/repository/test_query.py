"""Query parameters: what is on the allow-list is read by type, everything else is refused by name."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.repository import ORDER_FIELDS, Op, Query, QueryError, parse_query, rfc3339
from qtinfra.repository.query import Filter, SortKey, parse_moment

pytestmark = pytest.mark.unit


def code_of(*params: tuple[str, str]) -> str:
    with pytest.raises(QueryError) as caught:
        parse_query(params, ORDER_FIELDS)
    assert set(caught.value.context) == {"field", "rule", "limit", "value"}
    return caught.value.error_code


def test_nothing_asked_is_the_first_page_of_everything() -> None:
    assert parse_query((), ORDER_FIELDS) == Query((), (), 100, 0, "")


def test_filters_sort_and_page_are_read_by_type() -> None:
    query = parse_query(
        (
            ("symbol", "AAPL"),
            ("price[between]", "10,20.50"),
            ("status[in]", "FILLED,CANCELLED"),
            ("created_at[gte]", "2024-01-15T10:30:00.000000001+01:00"),
            ("client_order_id[like]", "abc*"),
            ("sort", "-created_at,symbol"),
            ("limit", "500"),
            ("offset", "10"),
        ),
        ORDER_FIELDS,
    )
    assert query.filters == (
        Filter("symbol", Op.EQ, ("AAPL",)),
        Filter("price", Op.BETWEEN, (Decimal(10), Decimal("20.5"))),
        Filter("status", Op.IN, ("FILLED", "CANCELLED")),
        Filter("created_at", Op.GTE, (1_705_311_000_000_000_001,)),
        Filter("client_order_id", Op.LIKE, ("abc*",)),
    )
    assert query.sort == (SortKey("created_at", True), SortKey("symbol"))
    assert (query.limit, query.offset) == (500, 10)


def test_a_query_can_be_built_as_well_as_parsed() -> None:
    built = Query().where("symbol", Op.EQ, "AAPL").order_by("-created_at", "symbol").take(5).after("c")
    params = (("symbol", "AAPL"), ("sort", "-created_at,symbol"), ("limit", "5"), ("cursor", "c"))
    assert built == parse_query(params, ORDER_FIELDS)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ((("sort", "(select pg_sleep(5))"),), "unknown_sort_field"),  # BI-054
        ((("filter", "symbol like '%'; drop table orders--"),), "unknown_filter"),  # BI-054
        ((("limit", "-1"),), "limit_out_of_range"),  # BI-055
        ((("limit", "99999999999999999999"),), "limit_out_of_range"),  # BI-055
        ((("limit", "1_0"),), "limit_out_of_range"),  # BI-055
        ((("limit", "1"), ("limit", "2")), "duplicate_parameter"),  # BI-055
        ((("limit", "0"),), "limit_out_of_range"),
        ((("limit", "501"),), "limit_out_of_range"),
        ((("limit", "\u0661"),), "limit_out_of_range"),
        ((("limit", ""),), "limit_out_of_range"),
        ((("offset", "100001"),), "offset_out_of_range"),
        ((("cursor", ""),), "bad_cursor"),
        ((("cursor", "a" * 5_000),), "bad_cursor"),
        ((("cursor", "a"), ("offset", "1")), "cursor_with_offset"),
        ((("sort", ""),), "unknown_sort_field"),
        ((("sort", "symbol,-symbol"),), "duplicate_parameter"),
        ((("sort", "reason_code"),), "unknown_sort_field"),
        ((("sort", "id,symbol,side,status,price,quantity"),), "too_many_values"),
        ((("symbol", "A"), ("symbol[eq]", "A")), "duplicate_parameter"),
        ((("symbol[", "A"),), "unknown_filter"),
        ((("order_id", "A"),), "unknown_filter"),
        ((("symbol[contains]", "A"),), "bad_operator"),
        ((("status[like]", "F*"),), "bad_operator"),
        ((("quantity[like]", "1*"),), "bad_operator"),
        ((("status", "filled"),), "invalid_choice"),
        ((("quantity", "1e3"),), "invalid_number"),
        ((("quantity", "NaN"),), "invalid_number"),
        ((("quantity", "1_000"),), "invalid_number"),
        ((("quantity", "--1"),), "invalid_number"),
        ((("quantity[between]", "1"),), "bad_between"),
        ((("quantity[between]", "1,2,3"),), "bad_between"),
        ((("symbol[in]", ",".join("A" * 101)),), "too_many_values"),
        ((("created_at", "yesterday"),), "invalid_date"),
        ((("created_at", "2024-02-30"),), "invalid_date"),
        ((("created_at", "2024-01-01T00:00:00"),), "invalid_date"),
        ((("created_at", "9999-12-31T00:00:00Z"),), "invalid_date"),
        ((("symbol", "A\x00B"),), "bad_text"),
        ((("symbol", "A" * 257),), "value_too_long"),
    ],
)
def test_what_is_not_allowed_is_refused_by_a_stable_code(
    params: tuple[tuple[str, str], ...], code: str
) -> None:
    assert code_of(*params) == code


def test_more_than_twenty_filters_are_refused() -> None:
    names = [name for name in ORDER_FIELDS.names if ORDER_FIELDS[name].kind == "text"]
    params = [(f"{name}[{op}]", "A") for name in names for op in ("eq", "ne", "lt", "gt", "gte")]
    assert code_of(*params[:21]) == "too_many_filters"


@given(name=st.text(max_size=20), value=st.text(max_size=40))
def test_any_text_is_parsed_or_refused_with_a_code(name: str, value: str) -> None:
    try:
        parse_query(((name, value), (f"symbol[{name}]", value), ("created_at", value)), ORDER_FIELDS)
    except QueryError as error:
        assert error.error_code != "bad_query"
        assert len(error.message) < 600


@given(ts_ns=st.integers(-(10**18), 4 * 10**18))
def test_a_moment_written_by_us_reads_back_to_the_nanosecond(ts_ns: int) -> None:
    assert parse_moment(rfc3339(ts_ns)) == ts_ns


def test_a_moment_has_no_more_places_than_it_needs() -> None:
    assert [rfc3339(ns) for ns in (0, 5_000_000, 1_000, 1)] == [
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00.005Z",
        "1970-01-01T00:00:00.000001Z",
        "1970-01-01T00:00:00.000000001Z",
    ]

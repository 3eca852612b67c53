"""Cursors: only the one that was given, for the query and the scope it was given to."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.repository.cursor import CursorCodec
from qtinfra.repository.query import EVERYTHING, Op, Query, QueryError, Scope

pytestmark = pytest.mark.unit

CODEC = CursorCodec(b"k" * 32)
MINE = Scope(("a1", "a2"))
ASKED = Query().where("symbol", Op.EQ, "AAPL").order_by("-created_at")
PLACE: list[str | int | bool | None] = [17, "order-1"]
CURSOR = CODEC.write("orders", ASKED, MINE, PLACE)


def refused(query: Query, scope: Scope, rows: str = "orders", codec: CursorCodec = CODEC) -> str:
    with pytest.raises(QueryError) as caught:
        codec.read(rows, query, scope)
    return caught.value.error_code


def test_a_cursor_reads_back_whatever_the_page_size_and_the_order_of_the_accounts() -> None:
    assert CODEC.read("orders", ASKED.after(CURSOR).take(7), Scope(("a2", "a1"))) == PLACE


@given(at=st.integers(0, len(CURSOR) - 1), new=st.characters(codec="utf-8"))
def test_a_cursor_changed_in_one_character_is_refused(at: int, new: str) -> None:
    changed = CURSOR[:at] + new + CURSOR[at + 1 :]
    if changed != CURSOR:
        assert refused(ASKED.after(changed), MINE) == "bad_cursor"


@given(bit=st.integers(0, len(urlsafe_b64decode(CURSOR + "==")) * 8 - 1))
def test_a_cursor_with_any_bit_flipped_is_refused(bit: int) -> None:
    raw = bytearray(urlsafe_b64decode(CURSOR + "=" * (-len(CURSOR) % 4)))
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    text = urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    assert refused(ASKED.after(text), MINE) == "bad_cursor"


def test_a_cursor_of_another_tenant_query_kind_or_key_is_refused() -> None:
    asked = ASKED.after(CURSOR)
    for scope in (Scope(("a1",)), Scope(("b1",)), EVERYTHING, Scope(())):
        assert refused(asked, scope) == "bad_cursor"
    for query in (asked.where("side", Op.EQ, "BUY"), asked.order_by("created_at"), Query(cursor=CURSOR)):
        assert refused(query, MINE) == "bad_cursor"
    assert refused(asked, MINE, rows="executions") == "bad_cursor"
    assert refused(asked, MINE, codec=CursorCodec(b"x" * 32)) == "bad_cursor"


@given(text=st.text(min_size=1, max_size=80))
def test_any_text_is_refused(text: str) -> None:
    assert refused(ASKED.after(text), MINE) == "bad_cursor"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        CursorCodec(b"short")

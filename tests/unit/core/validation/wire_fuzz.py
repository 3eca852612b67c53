"""Messages that are right, nearly right and wrong, for comparing readers."""

import json
from collections.abc import Callable

from hypothesis import strategies as st

Message = dict[str, str]

ORDER: Message = {
    "symbol": '"AAPL"',
    "side": '"SELL_SHORT"',
    "quantity": '"1000.0"',
    "price": "150.250",
    "order_type": '"LIMIT"',
    "time_in_force": '"GTC"',
    "client_order_id": '"c-000123"',
    "account_id": '"ACC-1"',
    "min_quantity": '"10"',
    "capacity": '"PRINCIPAL"',
    "trader": '"T 1"',
    "text": '"call me"',
}
#: Special terms, of all types at once: what goes together is the rules' question.
TERMS: Message = {
    "stop_price": '"149.50"',
    "trail_amount": "0.250",
    "display_quantity": '"100"',
    "peg": '{"type":"MIDPOINT","offset":"-0.010"}',
    "expire_at": '"2024-07-08T20:00:00.5Z"',
}
SPECIAL: Message = TERMS | {
    "locate_id": '"L-1"',
    "self_match_id": '"desk 7"',
    "do_not_reduce": "true",
    "do_not_increase": "false",
    "routing": '{"strategy":"POST","urgency":"0.250"}',
}
REPLACE: Message = {"client_order_id": '"c-2"', "quantity": '"800"', "price": "9.10", "text": '""'} | TERMS
EXECUTION: Message = {
    "order_id": '"o-1"',
    "venue": '"XNYS"',
    "exec_id": '"E 1"',
    "quantity": '"100"',
    "price": "10.50",
    "trade_date": '"2024-07-03"',
    "settlement_date": '"2024-07-05"',
    "settlement_currency": '"USD"',
    "liquidity": '"ADDED"',
    "fee": '"0"',
}
RISK: Message = {
    "account_id": '"ACC-1"',
    "symbol": '"AAPL"',
    "max_order_qty": "1000",
    "max_order_value": '"100000.00"',
    "price_collar": '"0.1"',
    "position_limit": "0",
}

#: JSON values, written out, that have broken parsers before.
NUMBERS = """
    0 -0 -0.0 1 1.0 100.50 1e400 1E5 -1 -100 NaN Infinity -Infinity 01 1. .5 +1 1e-1 1.000000000 1.0000000000
    999999999999999999 100000000000000000 1000000000 "0" "-0" "1e5" "1_000" "+100" "1,000" "NaN"
    "0.0000000001" "1.10" "0.00" "0x1" "-" "" "999999999999999999"
    "999999999999999999.999999999" "1000000000000000000" "\\u0031" "1\\n"
"""
NASTY_NUMBERS = (
    *NUMBERS.split(),
    '" 100 "',
    '"１００"',
    '"١٠٠"',
    '"' + "9" * 70 + '"',
    "9" * 70,
    "9" * 5000,
)
NASTY_TEXT = (
    '"AA\\u0000PL"',
    '"A\\ud800"',
    '"\\ud83d\\ude00"',
    '"\u0410APL"',
    '"AAPL\u200b"',
    '"x\\u0001SOH"',
    '"\x7f"',
    '"a\\"b"',
    '"\\u0042UY"',
    '"buy"',
    '"LIMIT"',
    '"BUY"',
    '"é"',
    '"\u2028"',
    '"' + "x" * 64 + '"',
    '"' + "x" * 65 + '"',
    '"' + "X" * 24 + '"',
    '"' + "X" * 25 + '"',
    '"' + "x" * 257 + '"',
    '"2024-02-30"',
    '"2024-07-02"',
    '":\\":"',
    '"a\tb"',
)
NASTY_OTHER = ("true", "false", "null", "[]", "[100]", '{"a":1}', '{"a":1,"a":2}', "[" * 20 + "]" * 20)
NAMES = ("status", "text", "symbol", "quantity", "price", "fee", "x\\u0001", "symb\\u006fl", "\\ud800", "")

values = st.sampled_from([*NASTY_NUMBERS, *NASTY_TEXT, *NASTY_OTHER]) | st.text(max_size=8).map(json.dumps)
spaces = st.sampled_from(["", " ", "\n\t ", "\r"])


def written(pairs: list[tuple[str, str]], space: str) -> bytes:
    text = ",".join(f'{space}"{name}"{space}:{space}{value}{space}' for name, value in pairs)
    return f"{space}{{{text}}}{space}".encode("utf-8", "surrogatepass")


def changed_message(message: Message) -> st.SearchStrategy[bytes]:
    """The message with fields dropped, doubled, added, re-ordered, or with other values."""
    names = list(message)

    @st.composite
    def build(draw: Callable[..., object]) -> bytes:
        kept = draw(st.lists(st.sampled_from(names), unique=True) | st.just(names))
        assert isinstance(kept, list)
        other = draw(st.dictionaries(st.sampled_from(names), values, max_size=2))
        extra = draw(st.lists(st.tuples(st.sampled_from([*names, *NAMES]), values), max_size=1))
        assert isinstance(other, dict)
        assert isinstance(extra, list)
        pairs = [(name, other.get(name, message[name])) for name in kept] + extra
        space = draw(spaces)
        assert isinstance(space, str)
        return written(pairs, space)

    return build()


def flipped_bytes(message: Message) -> st.SearchStrategy[bytes]:
    """The message with a few bytes replaced, removed or put in."""
    data = written(list(message.items()), "")

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        result = data
        for place, length, new in edits:
            at = place % (len(result) + 1)
            result = result[:at] + new + result[at + length :]
        return result

    edit = st.tuples(
        st.integers(0, len(data)), st.integers(0, 2), st.binary(max_size=2) | st.sampled_from([b'"', b","])
    )
    return st.lists(edit, min_size=1, max_size=3).map(apply)


def fuzzed(message: Message) -> st.SearchStrategy[bytes]:
    return changed_message(message) | flipped_bytes(message) | st.binary(max_size=40)

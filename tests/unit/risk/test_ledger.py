"""The windows agree with the plain definition: what is younger than the window, counted one by one."""

from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.risk.ledger import DRIFT_SLOTS, Drift, Flow, FlowKey, window_add, window_full

WINDOW = 1_000
gaps = st.lists(st.integers(0, 600), min_size=1, max_size=60)
KEYS: list[FlowKey] = [("alpha", "ACME", "BUY", Decimal(qty), None) for qty in (1, 2)]


def times(steps: list[int]) -> list[int]:
    """Ascending times from the gaps between them."""
    found, now = [], 10_000
    for gap in steps:
        now += gap
        found.append(now)
    return found


@given(gaps, st.integers(1, 8), st.integers(0, 1_500))
def test_a_message_window_is_full_when_the_limit_is_reached_within_it(
    steps: list[int], limit: int, later: int
) -> None:
    stamps: list[int] = []
    for now in times(steps):
        window_add(stamps, now, now - WINDOW)
    now = times(steps)[-1] + later
    young = sum(stamp > now - WINDOW for stamp in times(steps))
    assert window_full(stamps, limit, now - WINDOW) == (young >= limit)


def test_a_message_window_forgets_what_is_old_and_a_limit_of_none_lets_nothing_pass() -> None:
    stamps: list[int] = []
    for now in range(0, 1_000_000, 100):
        window_add(stamps, now, now - WINDOW)
    assert len(stamps) < 50
    assert window_full(stamps, 0, 0)
    assert window_full(None, 0, 0)
    assert not window_full(None, 1, 0)


@given(st.lists(st.tuples(st.integers(0, 700), st.sampled_from(KEYS)), min_size=1, max_size=60))
def test_equal_orders_are_counted_exactly_over_the_window(steps: list[tuple[int, FlowKey]]) -> None:
    flow = Flow()
    sent: list[tuple[int, FlowKey]] = []
    now = 10_000
    for gap, key in steps:
        now += gap
        expected = sum(stamp > now - WINDOW and other == key for stamp, other in sent)
        assert flow.seen(key, now - WINDOW) == expected
        flow.add(key, now, WINDOW)
        sent.append((now, key))
    kept = [1 if isinstance(stamps, int) else len(stamps) for stamps in flow.current.values()]
    assert sum(kept) <= len(sent)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 50)), min_size=1, max_size=80))
def test_a_drift_window_has_the_extremes_of_the_period_or_of_at_most_a_slot_more(
    steps: list[tuple[int, int]],
) -> None:
    drift = Drift()
    seen: list[tuple[int, Decimal]] = []
    now = 10_000
    for gap, number in steps:
        now += gap
        seen.append((now, Decimal(number)))
        drift.add(now, Decimal(number), WINDOW)
        slot = -(-WINDOW // DRIFT_SLOTS)
        inside = [price for stamp, price in seen if stamp > now - WINDOW]
        longer = [price for stamp, price in seen if stamp > now - WINDOW - slot]
        low, high = drift.low(now - WINDOW), drift.high(now - WINDOW)
        assert low is not None and min(longer) <= low <= min(inside)
        assert high is not None and max(inside) <= high <= max(longer)


@given(
    st.lists(st.tuples(st.integers(0, 1_500), st.sampled_from(["50", "50.0", "51"])), min_size=1, max_size=40)
)
def test_a_drift_window_is_written_alike_whether_a_price_is_the_same_object_or_an_equal_one(
    steps: list[tuple[int, str]],
) -> None:
    kept, made = Drift(), Drift()
    known = {text: Decimal(text) for _, text in steps}
    now = 10_000
    for gap, text in steps:
        now += gap
        kept.add(now, known[text], WINDOW)
        made.add(now, Decimal(text), WINDOW)
        again = msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Drift)
        assert msgspec.msgpack.encode(kept) == msgspec.msgpack.encode(made)
        assert (kept.only is None) == (len({price for _, price in (*kept.lows, *kept.highs)}) > 1)
        assert (
            again.low(now - WINDOW)
            == kept.low(now - WINDOW)
            == min(price for stamp, price in (*kept.lows, (now, known[text])) if stamp > now - WINDOW)
        )


def test_a_drift_window_stays_bounded_however_the_price_moves() -> None:
    drift = Drift()
    for number in range(20_000):
        drift.add(number, Decimal(number), WINDOW)
    assert len(drift.lows) <= DRIFT_SLOTS + 4
    assert drift.low(20_000 + WINDOW) is None

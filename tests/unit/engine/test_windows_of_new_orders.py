"""What evolve keeps of new orders for the windows, on its short ways, is what the windows' own rules keep."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.events import OrderAccepted
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.engine.evolve_risk import count_flow
from qtinfra.engine.risk_sums import place_in, place_of
from qtinfra.risk.ledger import Drift, Flow, window_add
from tests.support.builders import ALPHA, SYMBOL, Desk, account

pytestmark = pytest.mark.unit

_WINDOW_S = 1_000_000_000
_STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, _WINDOW_S // 3, _WINDOW_S, 3 * _WINDOW_S, 400 * _WINDOW_S]),
        st.sampled_from(["100", "1E+2", "50"]),
        st.sampled_from(["50", "50.0", "51", None]),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


def _accepted(qty: Decimal, reference: Decimal | None, ts_ns: int) -> OrderAccepted:
    asked = cmd.SubmitOrder(ALPHA, "C", SYMBOL, OrderSide.BUY, OrderType.MARKET, TimeInForce.DAY, qty)
    return OrderAccepted("O", asked, ts_ns, None, reference)


@given(_STEPS)
@settings(max_examples=150, deadline=None)
def test_windows_hold_what_their_own_rules_hold(steps: list[tuple[int, str, str | None, bool]]) -> None:
    desk = Desk(["XNAS"], checked=False)
    desk.run(cmd.SetReference((), (account(ALPHA),)))
    desk.limit(LimitRule.MAX_MESSAGES, 100)
    desk.limit(LimitRule.DUPLICATE_FLOW, 100)
    desk.limit(LimitRule.PERIOD_COLLAR, "0.5")
    state = desk.state
    risk, policy = state.risk, state.risk.policy
    of, to = place_of(state, ALPHA), place_in(state, SYMBOL)
    flow, drift, messages = Flow(), Drift(), list[int]()
    known = {text: Decimal(text) for text in ("50", "50.0", "51")}
    now = 10 * _WINDOW_S
    came: list[tuple[Decimal, int]] = []
    for gap, qty, price, same in steps:
        now += gap
        reference = None if price is None else known[price] if same else Decimal(price)
        key = (ALPHA, SYMBOL, "BUY", Decimal(qty), None)
        found = (key, risk.flow.current.get(key)) if same else (None, None)
        count_flow(state, _accepted(Decimal(qty), reference, now), of, to, *found)
        flow.add(key, now, policy.duplicate_window_ns)
        came.append((Decimal(qty), now))
        since = now - policy.duplicate_window_ns
        equal = [stamp for number, stamp in came if number == Decimal(qty) and stamp > since]
        assert risk.flow.seen(key, since) == len(equal)
        window_add(messages, now, now - policy.message_window_ns)
        if price is not None:
            drift.add(now, Decimal(price), policy.drift_window_ns)
        assert risk.flow == flow
        assert risk.messages[ALPHA] == risk.book_messages[SYMBOL] == messages
        held = risk.drift.get(SYMBOL, Drift())
        assert msgspec.msgpack.encode(held) == msgspec.msgpack.encode(drift)

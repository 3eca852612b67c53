"""Behaviour 16: orders of one firm never trade with each other, at the simulated venue through the engine."""

from decimal import Decimal
from typing import Any

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.events import CommandRefused
from qtinfra.core.extended_models import Policies, SelfMatch
from qtinfra.core.models import OrderType
from qtinfra.core.reports import VenueNewOrder, VenueReport
from qtinfra.core.special import SpecialTerms
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.matching import Listing, MatchingVenue
from tests.support.builders import ALPHA, BETA, BUY, GTC, SELL, SYMBOL, Desk, account, only, submit
from tests.support.facts import facts

pytestmark = pytest.mark.unit

MIC = "XSIM"


class Floor:
    """A desk whose one venue is the simulated one; both accounts belong to one firm and have one policy."""

    def __init__(self, mode: SelfMatch, firms: tuple[str, str] = ("firm", "firm")) -> None:
        self.desk = Desk((MIC,))
        self.venue = MatchingVenue(MIC, [Listing(SYMBOL)])
        self.said: list[VenueReport] = []
        policies = Policies(self_match=mode)
        accounts = [
            account(name, policies, firm=firm) for name, firm in zip((ALPHA, BETA), firms, strict=True)
        ]
        self.desk.run(cmd.SetReference(accounts=tuple(accounts)))
        self._sent = 0

    def run(self, command: cmd.AnyCommand) -> None:
        """The command, and everything that venue and engine then say to each other."""
        self.desk.run(command)
        while self._sent < len(self.desk.sent):
            message = self.desk.sent[self._sent]
            self._sent += 1
            self.hear(self.venue.submit(message, self._sent))

    def hear(self, reports: list[VenueReport]) -> None:
        for report in reports:
            self.said.append(report)
            self.run(cmd.RecordVenueReport(report))

    def meet(self, sold: int = 100, bought: int = 60) -> None:
        """A resting sell of one account, and a buy of the other that would trade with it."""
        self.run(submit("S", sold, 50, side=SELL, name=ALPHA))
        self.run(submit("B", bought, 50, side=BUY, name=BETA))

    def figures(self) -> list[tuple[object, ...]]:
        found = [self.desk.order("S", ALPHA), self.desk.order("B", BETA)]
        return [facts(order.status.value, order.qty, order.cum_qty, order.leaves_qty) for order in found]

    def reasons(self) -> list[str]:
        """What the clients were told of orders that lost quantity."""
        words = [getattr(report, "text", "") for report in self.desk.reports]
        return [text for text in words if "self" in text]


def none_printed(floor: Floor) -> bool:
    return not floor.desk.state.executions and not any(report.exec_id for report in floor.said)


@pytest.mark.parametrize(
    ("mode", "resting", "arriving"),
    [
        (SelfMatch.CANCEL_NEWEST, ("ROUTED", 100, 0, 100), ("CANCELLED", 60, 0, 0)),
        (SelfMatch.CANCEL_OLDEST, ("CANCELLED", 100, 0, 0), ("ROUTED", 60, 0, 60)),
        (SelfMatch.CANCEL_BOTH, ("CANCELLED", 100, 0, 0), ("CANCELLED", 60, 0, 0)),
        (SelfMatch.DECREMENT, ("ROUTED", 40, 0, 40), ("CANCELLED", 60, 0, 0)),
    ],
)
def test_behaviour_16_no_trade_prints_between_orders_of_one_firm_and_reports_name_the_reason(
    mode: SelfMatch, resting: tuple[object, ...], arriving: tuple[object, ...]
) -> None:
    floor = Floor(mode)
    floor.meet()
    assert none_printed(floor)
    assert floor.figures() == [resting, arriving]
    assert floor.reasons()


def test_behaviour_16_orders_of_two_firms_trade() -> None:
    floor = Floor(SelfMatch.CANCEL_BOTH, ("one", "two"))
    floor.meet()
    assert [figures[2] for figures in floor.figures()] == [60, 60]


def test_behaviour_16_accounts_that_do_not_ask_for_it_trade_with_each_other() -> None:
    floor = Floor(SelfMatch.NONE)
    floor.meet()
    assert [figures[2] for figures in floor.figures()] == [60, 60]


def test_behaviour_16_what_others_offer_trades_and_only_the_own_part_is_prevented() -> None:
    floor = Floor(SelfMatch.CANCEL_NEWEST)
    floor.hear(floor.venue.background_add(SYMBOL, BookOrder(1, False, 20, 5000, rests=True), 1))
    floor.meet()
    assert floor.figures() == [("ROUTED", 100, 0, 100), ("CANCELLED", 60, 20, 0)]


def test_behaviour_16_special_orders_carry_the_firm_too_unless_they_name_an_id_of_their_own() -> None:
    floor = Floor(SelfMatch.CANCEL_OLDEST)
    iceberg: dict[str, Any] = {"order_type": OrderType.ICEBERG, "tif": GTC}
    floor.run(submit("I", 100, 50, special=SpecialTerms(display_qty=Decimal(10)), **iceberg))
    own = SpecialTerms(display_qty=Decimal(10), smp_id="desk 7")
    floor.run(submit("J", 100, 49, special=own, **iceberg))
    sent = [item for item in floor.desk.sent if isinstance(item, VenueNewOrder)]
    assert [(item.smp_id, item.smp_mode) for item in sent] == [
        ("firm", "cancel_oldest"),
        ("desk 7", "cancel_oldest"),
    ]


def test_an_account_without_a_firm_cannot_ask_for_it() -> None:
    outcome = Desk().run(
        cmd.SetReference(accounts=(account(ALPHA, Policies(self_match=SelfMatch.DECREMENT), firm=""),))
    )
    refused = only(outcome, CommandRefused)
    assert (refused.code, refused.field) == ("bad_reference", "accounts")

"""The closing auction of the demonstration: who else comes to it, and how it is held.

The synthetic market trades continuously and ends with its close. Here its listing venue collects on-close
orders, as the exchange does, and uncrosses them with its book at the last moment of the session.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from qtinfra.core.models import TimeInForce
from qtinfra.runtime.demo_algos import CLOSE_VOLUME, CLOSING, LISTING
from qtinfra.runtime.demo_board import ALGO_ACCOUNT
from qtinfra.runtime.demo_script import CLOSE_NS, MS, SECOND, Scene, Stage, number
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.market import AuctionTimes

#: The venue takes on-close orders until five minutes before the close (Nasdaq Equity 4, Rule 4754).
CUTOFF_NS = CLOSE_NS - 300 * SECOND
#: One millisecond before the books are closed for the day.
AUCTION_NS = CLOSE_NS - MS

_ORDERS = 60
_LOT = 100
#: Ids of these orders: above all that the market's own flow can reach in a day.
_FIRST_ID = 1_000_000_000


def hold_auctions(stage: Stage, trade_date: str) -> None:
    """Let the listing venue take on-close orders from the open on."""
    stage.market.matching[LISTING].start_day(trade_date, AuctionTimes(on_close_cutoff_ns=CUTOFF_NS))


def others(seed: int) -> list[BookOrder]:
    """Other people's on-close orders at the market: about `CLOSE_VOLUME` on each side, in round lots."""
    random = Random(f"{seed}/closing auction")
    typical = int(CLOSE_VOLUME) * 2 // _ORDERS
    found = []
    for place in range(_ORDERS):
        units = max(_LOT, round(random.expovariate(1 / typical) / _LOT) * _LOT)
        found.append(BookOrder(_FIRST_ID + place, place % 2 == 0, units, None))
    return found


def closing_auction(seed: int) -> Scene:
    """A scene for the cut-off: others' orders are in; at the end the auction is held."""

    def scene(stage: Stage) -> Iterator[int]:
        venue = stage.market.matching[LISTING]
        for order in others(seed):
            venue.background_on_auction(CLOSING, order, TimeInForce.AT_CLOSE)
        yield AUCTION_NS - stage.now_ns
        at, before = stage.now_ns, stage.order(ALGO_ACCOUNT, "CLOSE-1").cum_qty
        clearing = venue.imbalance(CLOSING, TimeInForce.AT_CLOSE)
        stage.venue_says(LISTING, venue.close_auction(CLOSING, at))
        yield 5 * MS
        parent = stage.order(ALGO_ACCOUNT, "CLOSE-1")
        lots, price = (clearing.units, clearing.price) if clearing is not None else (0, 0)
        grid = stage.market.instruments[stage.market.symbols.index(CLOSING)]
        traded = f"{number(lots * grid.lot)} at {number(price * grid.tick)}"
        ours = f"CLOSE-1 has {number(parent.cum_qty - before)} of it, {number(parent.cum_qty)} in all"
        stage.tell(at, LISTING, f"holds the closing auction in {CLOSING}", f"{traded}; {ours}")

    return scene

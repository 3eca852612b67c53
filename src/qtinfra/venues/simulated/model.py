"""What every simulated venue is: a synchronous model without I/O, and a session that numbers its reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Protocol, runtime_checkable

from msgspec.structs import replace

from qtinfra.core.market import VenueQuote
from qtinfra.core.reports import ToVenue, VenueNewOrder, VenueReport
from qtinfra.venues.simulated.orders import WholeTrade


class VenueModel(Protocol):
    """A venue's rules. Deterministic: same messages at the same times, same reports."""

    @property
    def mic(self) -> str: ...

    def submit(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        """Take one message from us; the reports it causes, for our orders only, not yet numbered."""
        ...

    def quote(self, symbol: str, now_ns: int) -> VenueQuote | None:
        """What the venue displays, our own orders left out; None for a symbol it does not trade."""
        ...


@runtime_checkable
class PrintsVolume(Protocol):
    """A venue that says what has printed there."""

    def printed(self, symbol: str) -> tuple[Decimal, Decimal | None]:
        """Regular volume printed in the symbol so far, ours included, and the last price; 0 and None before
        the first print and for a symbol that it does not trade."""
        ...


@runtime_checkable
class TradesAtOnce(Protocol):
    """A venue that has a short way for orders that trade in full on arrival."""

    def trade_whole(
        self, order: VenueNewOrder, now_ns: int, session: str, sent: list[VenueReport | WholeTrade]
    ) -> list[VenueReport] | None:
        """Acknowledge and fill an order in full, as `submit` would.

        The two reports carry the session's name and the numbers that follow what it has `sent`, where the
        trade joins in the place of each.

        None: this order does not go the short way and was not taken; `submit` it.
        """
        ...


#: The short way of a venue that has one.
_ShortWay = Callable[[VenueNewOrder, int, str, "list[VenueReport | WholeTrade]"], "list[VenueReport] | None"]


def _short_way(model: VenueModel) -> _ShortWay | None:
    """The model's `trade_whole`, which shortens the `submit` of its own class: a subclass whose `submit` does
    more must hear of every order.
    """
    for kind in type(model).__mro__:
        if "submit" in vars(kind):
            if "trade_whole" in vars(kind) and isinstance(model, TradesAtOnce):
                return model.trade_whole
            return None
    return None


class VenueSession:
    """One trading session with a venue: numbers reports from 1 and can send any of them again.

    The session belongs to the venue, not to us: it outlives our process, so that a restarted engine
    asks for what followed the last number it has journaled.
    """

    def __init__(self, model: VenueModel, name: str) -> None:
        self.model = model
        self.name = name
        self._sent: list[VenueReport | WholeTrade] = []
        self._latest: list[VenueReport] = []
        self._trade_whole = _short_way(model)

    @property
    def last_seq(self) -> int:
        return len(self._sent)

    def submit(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        """Pass one message to the model; its reports, numbered and kept."""
        trade_whole = self._trade_whole
        if trade_whole is not None and type(message) is VenueNewOrder:
            reports = trade_whole(message, now_ns, self.name, self._sent)
            if reports is not None:
                self._latest = reports
                return reports
        return self.stamp(self.model.submit(message, now_ns))

    def stamp(self, reports: Iterable[VenueReport]) -> list[VenueReport]:
        """Number reports that the market caused (fills of resting orders) and keep them."""
        sent, name, stamped = self._sent, self.name, []
        seq = len(sent)
        for report in reports:
            seq += 1
            stamped.append(replace(report, seq=seq, session=name))
        sent += stamped
        self._latest = stamped
        return stamped

    def resend(self, after_seq: int) -> list[VenueReport]:
        """Everything sent after the given number, in order; what was said last is still at hand as it was."""
        sent, latest, mic, name = self._sent, self._latest, self.model.mic, self.name
        before = len(sent) - len(latest)
        if after_seq >= before:
            return latest[after_seq - before :]
        again: list[VenueReport] = []
        for place in range(after_seq, len(sent)):
            said = sent[place]
            if isinstance(said, VenueReport):
                again.append(said)
            elif place and sent[place - 1] is said:
                again.append(said.fill(mic, name, place + 1))
            else:
                again.append(said.ack(mic, name, place + 1))
        return again


class SimulatedMarket(Protocol):
    """A market that moves by itself: other people's orders, generated or recorded, on its venues."""

    @property
    def sessions(self) -> Mapping[str, VenueSession]:
        """The venues by MIC."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]: ...

    def next_ns(self) -> int | None:
        """When the next market event happens (UTC nanoseconds); None when there is none left."""
        ...

    def step(self) -> list[VenueReport]:
        """Let it happen; the numbered reports about our own orders that it caused."""
        ...

"""The words with which a simulated venue refuses a request or explains an unsolicited report."""

from __future__ import annotations

from typing import Final

# Reasons of REJECT, CANCEL_REJECT and REPLACE_REJECT.
UNKNOWN_SYMBOL: Final = "unknown_symbol"
DUPLICATE_CL_ORD_ID: Final = "duplicate_cl_ord_id"
UNSUPPORTED: Final = "unsupported"
INVALID_PRICE: Final = "invalid_price"
INVALID_QTY: Final = "invalid_qty"
INVALID_STOP: Final = "invalid_stop"
INVALID_DISPLAY: Final = "invalid_display"
INVALID_PEG: Final = "invalid_peg"
INVALID_SMP_MODE: Final = "invalid_smp_mode"
HALTED: Final = "halted"
CLOSED: Final = "closed"
CUT_OFF: Final = "cut_off"
TOO_LATE: Final = "too_late"
UNKNOWN_ORDER: Final = "unknown_order"
# Reasons of an unsolicited CANCELED.
IOC: Final = "ioc"
FOK: Final = "fok"
MIN_QTY: Final = "min_qty"
NO_LIQUIDITY: Final = "no_liquidity"
AUCTION_REMAINDER: Final = "auction_remainder"
#: Of CANCELED and RESTATED: an order under the same id stood on the other side.
SELF_MATCH: Final = "self_match"
#: Of RESTATED without new terms: a stop order has come to life.
TRIGGERED: Final = "triggered"
# Reason of EXPIRED.
END_OF_DAY: Final = "end_of_day"

# Liquidity flags of fills, beside what `Liquidity` says.
AUCTION_FLAG: Final = "auction"
HIDDEN_FLAG: Final = "hidden"
MIDPOINT_FLAG: Final = "midpoint"

"""Recorded trades and national best bid and offer in the LEAN tick format: strict readers, and the quote as it was.

A day of one symbol is a zip file of quotes and one of trades, each with one CSV file inside. A quote row carries
one side, the other is 0: the other side stands as last said (fill forward). The exchange of a quote row is the
holder of that side, so depth per venue cannot be rebuilt. Inside this module a price is an integer in 1/10,000
dollar, a size an integer number of shares, a side 1 (bid) or -1 (ask). `lobster.dollars` is the boundary.

Source: QuantConnect LEAN, Data/equity/readme.md, "Tick File Format", and its tables of condition flags.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from qtinfra.core.decimals import ZERO, quotient
from qtinfra.marketdata.lobster import RecordedDataError, midnight_ns

BID: Final = 1
ASK: Final = -1
NO_SIDE: Final = 0

#: Regular hours of US equities in milliseconds after midnight in New York: 09:30 up to, not including, 16:00.
REGULAR_HOURS_MS: Final = (34_200_000, 57_600_000)
#: The exchange letter of trades that were reported to FINRA: they happened off the exchanges.
OFF_EXCHANGE: Final = "D"

#: Trade conditions of a print whose price is not that of the market at its moment: settled otherwise (2, 4, 8),
#: opening, closing and reopening crosses (40, 80, 100), derivatively priced (200), extended hours (400, 2000,
#: 4000), late (800), average price (100000), crossing session (200000), contingent (40000), official open and
#: close (4000000, 1000000), prior reference price (2000000).
NOT_AT_MARKET: Final = 0x73_46DCE | 0x00_40000

_MS_NS: Final = 1_000_000
_DAY_MS: Final = 86_400_000
_REGULAR_QUOTE: Final = 1

_FILE_NAME = re.compile(
    r"(?:(?P<symbol>[a-z0-9.\-]{1,24})_)?(?P<day>\d{8})_(?P<content>quote|trade)\.zip", re.ASCII
)
_MEMBER_NAME = re.compile(
    r"(?P<day>\d{8})_(?P<symbol>[a-z0-9.\-]{1,24})_(?P<content>Quote|Trade)_Tick\.csv", re.ASCII
)
_TIME = r"(\d{1,8})(?:\.(\d{1,6}))?"
_PRICE, _SIZE, _LETTER, _FLAGS, _FLAG = r"(\d{1,10})", r"(\d{1,10})", r"([A-Z]?)", r"([0-9A-Fa-f]{1,8})", "([01])"
_QUOTE_FIELDS = (
    ("time", _TIME),
    ("bid price", _PRICE),
    ("bid size", _SIZE),
    ("ask price", _PRICE),
    ("ask size", _SIZE),
    ("exchange", _LETTER),
    ("conditions", _FLAGS),
    ("suspicious", _FLAG),
)
_TRADE_FIELDS = (
    ("time", _TIME),
    ("price", _PRICE),
    ("size", _SIZE),
    ("exchange", _LETTER),
    ("conditions", _FLAGS),
    ("suspicious", _FLAG),
)

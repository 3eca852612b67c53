"""Numbers and times as the API shows them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.api.views import four_places, rfc3339
from qtinfra.core.routing import PPM

pytestmark = pytest.mark.unit


@given(st.integers(0, PPM))
def test_parts_of_a_million_are_rounded_as_python_rounds(part: int) -> None:
    assert four_places(part) == round(part / PPM, 4)


def test_ties_are_rounded_as_python_rounds() -> None:
    assert all(four_places(part) == round(part / PPM, 4) for part in range(50, PPM, 100))


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_moment_has_microseconds_cut_off(ts_ns: int) -> None:
    second, rest = divmod(ts_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(second, UTC).replace(microsecond=rest // 1000)
    assert rfc3339(ts_ns) == moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

"""What was answered is counted by method, route and status, and its durations by method and route."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qtinfra.api.metrics import BUCKETS, Metrics

pytestmark = pytest.mark.unit


def test_answers_are_counted_and_their_durations_add_up_over_the_statuses() -> None:
    metrics = Metrics()
    for status, seconds in ((201, 0.0005), (201, 0.004), (422, 0.004), (201, 9.0)):
        metrics.note("POST", "/orders", status, seconds)
    metrics.note("BREW", "unmatched", 405, 0.1)
    metrics.note("BREW", "unmatched", 405, 0.1)
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    counts = {tuple(s.labels.values()): s.value for s in families["qtinfra_http_requests"].samples}
    assert counts == {
        ("POST", "/orders", "201"): 3,
        ("POST", "/orders", "422"): 1,
        ("OTHER", "unmatched", "405"): 2,
    }
    samples = [s for s in families["qtinfra_http_request_seconds"].samples if s.labels["method"] == "POST"]
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert len(buckets) == len(BUCKETS) + 1
    assert (buckets["0.0005"], buckets["0.002"], buckets["0.005"], buckets["5.0"], buckets["+Inf"]) == (
        1,
        1,
        3,
        3,
        4,
    )
    sums = {s.name.rpartition("_")[2]: s.value for s in samples if not s.name.endswith("_bucket")}
    assert sums == {"count": 4, "sum": pytest.approx(9.0085)}

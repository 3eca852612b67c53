"""What the server counts, for Prometheus. Labels come from fixed lists: an id or a symbol never is one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: Bounds in seconds: what order entry promises lies inside, what would be a disaster does too.
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
#: Stands for every path that no route has.
NO_ROUTE = "unmatched"
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")


class _Seen:
    """The answers of one method, route and status: how many, how long in all, and how many per bucket."""

    __slots__ = ("count", "per_bucket", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.per_bucket = [0] * (len(BUCKETS) + 1)


class Requests(Collector):
    """What was answered. Noting it adds three numbers; the metrics are made when they are asked for."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, int], _Seen] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. `route` is a template of ours or `NO_ROUTE`."""
        seen = self._seen.get((method, route, status))
        if seen is None:
            method = method if method in _METHODS else "OTHER"
            seen = self._seen.setdefault((method, route, status), _Seen())
        seen.count += 1
        seen.seconds += seconds
        seen.per_bucket[bisect_left(BUCKETS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        """Requests by method, route and status; their durations by method and route."""
        requests = CounterMetricFamily(
            "qtinfra_http_requests", "Requests answered.", labels=("method", "route", "status")
        )
        text = "From the request's headers to the end of its answer."
        durations = HistogramMetricFamily("qtinfra_http_request_seconds", text, labels=("method", "route"))
        by_route: dict[tuple[str, str], _Seen] = {}
        for (method, route, status), seen in self._seen.items():
            requests.add_metric((method, route, str(status)), seen.count)
            sums = by_route.setdefault((method, route), _Seen())
            sums.seconds += seen.seconds
            sums.per_bucket = [a + b for a, b in zip(sums.per_bucket, seen.per_bucket, strict=True)]
        bounds = (*map(floatToGoString, BUCKETS), "+Inf")
        for labels, sums in by_route.items():
            buckets = list(zip(bounds, accumulate(sums.per_bucket), strict=True))
            durations.add_metric(labels, buckets, sums.seconds)
        yield requests
        yield durations


class Metrics:
    """The registry of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Requests()
        self.registry.register(self._requests)
        self.confusable = Counter(
            "qtinfra_confusable_symbols",
            "Symbols with letters that look like others.",
            registry=self.registry,
        )
        self.note = self._requests.note

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A figure that is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self.registry)

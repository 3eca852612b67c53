"""What the server counts, for Prometheus. Labels come from fixed lists: an id or a symbol never is one."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

#: Bounds in seconds: what order entry promises lies inside, what would be a disaster does too.
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
#: Stands for every path that no route has.
NO_ROUTE = "unmatched"
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")


class Metrics:
    """The registry of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "qtinfra_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "qtinfra_http_request_seconds",
            "From the request's headers to the end of its answer.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.confusable = Counter(
            "qtinfra_confusable_symbols",
            "Symbols with letters that look like others.",
            registry=self.registry,
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A figure that is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. `route` is a template of ours or `NO_ROUTE`."""
        key = (method, route, status)
        known = self._known.get(key)
        if known is None:
            name = method if method in _METHODS else "OTHER"
            counter = self._requests.labels(name, route, str(status))
            known = self._known[name, route, status] = (counter, self._seconds.labels(name, route))
        known[0].inc()
        known[1].observe(seconds)

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self.registry)

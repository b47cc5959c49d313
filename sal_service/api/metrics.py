"""Metrics for Prometheus, in a registry of their own.

Labels are templates of routes and names that an administrator chose, never what a client made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.responses import Response

from sal_service.api.logs import Answered

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
LIKELIHOODS = tuple(step / 10 for step in range(1, 11))


@dataclass(frozen=True)
class Reading:
    """A value that is read when Prometheus asks.

    Args:
        name: as Prometheus wants it, such as `sal_intake_waiting`; of a counter without its `_total`.
        value: the value.
        help: what it is, with its unit; the same for all readings of a name.
        labels: the same keys for all readings of a name.
        kind: `counter` for what only grows.
    """

    name: str
    value: float
    help: str
    labels: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["gauge", "counter"] = "gauge"


class Metrics:
    """All metrics of one service.

    Args:
        read: gives what is to be read whenever Prometheus asks; what it raises fails that request.
    """

    def __init__(self, read: Callable[[], Iterable[Reading]] = tuple) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sal_requests", "Requests that were answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "sal_request_seconds",
            "Seconds until an answer began.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._likelihoods = Histogram(
            "sal_first_hit_likelihood",
            "Likelihoods of the first hits of searches.",
            buckets=LIKELIHOODS,
            registry=self._registry,
        )
        self._without = Counter(
            "sal_searches_without_likelihood", "Searches without hits, or by likeness.", registry=self._registry
        )
        self._registry.register(_Readings(read))

    def count(self, answered: Answered) -> None:
        """Count a request; one of `Observe`'s listeners."""
        self._requests.labels(answered.method, answered.route, str(answered.status)).inc()
        self._seconds.labels(answered.route).observe(answered.seconds)

    def search(self, likelihood: float | None) -> None:
        """Count a search by the likelihood (0..1) of its first hit; None where there is none."""
        if likelihood is None:
            self._without.inc()
        else:
            self._likelihoods.observe(likelihood)

    def answer(self) -> Response:
        """The answer to `GET /metrics`."""
        return Response(generate_latest(self._registry), media_type=MEDIA_TYPE)


class _Readings:
    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for reading in self._read():
            family = families.get(reading.name)
            if family is None:
                make = GaugeMetricFamily if reading.kind == "gauge" else CounterMetricFamily
                family = families[reading.name] = make(reading.name, reading.help, labels=sorted(reading.labels))
            family.add_metric([reading.labels[name] for name in sorted(reading.labels)], reading.value)
        yield from families.values()

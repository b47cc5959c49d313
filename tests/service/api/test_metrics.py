"""Metrics, read as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from sal_service.api.metrics import Metrics, Reading
from tests.service.api.small_app import bearer, make_app


def text(metrics: Metrics) -> str:
    return bytes(metrics.answer().body).decode()


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text(metrics))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def test_requests_are_counted_by_route_and_status() -> None:
    metrics = Metrics()
    client = TestClient(make_app(hosts=("testserver",), tell=[metrics.count]), headers=bearer("search"))
    for gallery in ("door", "hall"):
        client.get(f"/v1/galleries/{gallery}/words")
    for number in range(5):
        client.get(f"/v1/made-up-{number}")
    client.get("/v1/fails/unknown")
    words = {"method": "GET", "route": "/v1/galleries/{gallery}/words"}
    assert value(metrics, "sal_requests_total", **words, status="200") == 2
    assert value(metrics, "sal_requests_total", method="GET", route="none", status="404") == 5
    assert value(metrics, "sal_requests_total", method="GET", route="/v1/fails/{how}", status="500") == 1
    assert value(metrics, "sal_request_seconds_count", route="/v1/galleries/{gallery}/words") == 2
    assert "made-up" not in text(metrics)
    assert "_created" not in text(metrics)


def test_likelihoods_fall_into_tenths() -> None:
    metrics = Metrics()
    for likelihood in (0.05, 0.31, None, 0.95, 1.0):
        metrics.search(likelihood)
    buckets = [value(metrics, "sal_first_hit_likelihood_bucket", le=f"{n / 10}") for n in range(1, 11)]
    assert buckets == [1, 1, 1, 2, 2, 2, 2, 2, 2, 4]
    assert value(metrics, "sal_searches_without_likelihood_total") == 1


def test_readings_are_read_when_asked_for() -> None:
    ages = {"door": 1.0, 'ha"ll\n': 2.0}

    def read() -> Iterator[Reading]:
        for name, age in ages.items():
            labels = {"camera": name, "gallery": "g"}
            yield Reading("sal_camera_age_seconds", age, "Age of the newest frame.", labels)
        yield Reading("sal_frames_dropped", 7, "Frames that were dropped.", kind="counter")

    metrics = Metrics(read)
    assert value(metrics, "sal_camera_age_seconds", camera="door", gallery="g") == 1.0
    ages["door"] = 5.0
    assert value(metrics, "sal_camera_age_seconds", gallery="g", camera="door") == 5.0
    assert value(metrics, "sal_camera_age_seconds", camera='ha"ll\n', gallery="g") == 2.0
    assert value(metrics, "sal_frames_dropped_total") == 7
    assert "# TYPE sal_frames_dropped_total counter" in text(metrics)


def test_two_services_do_not_share_their_metrics() -> None:
    first, second = Metrics(), Metrics()
    first.search(0.5)
    assert value(second, "sal_first_hit_likelihood_count") == 0
    assert first.answer().headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_reading_that_fails_is_not_hidden() -> None:
    def broken() -> list[Reading]:
        raise OSError("no audit log")

    with pytest.raises(OSError, match="audit"):
        Metrics(broken).answer()

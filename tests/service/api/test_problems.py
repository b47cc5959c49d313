"""Errors as `application/problem+json`."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi.testclient import TestClient

from tests.service.api.small_app import bearer, make_app


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(make_app(hosts=("testserver",)), headers=bearer("search"))


@pytest.mark.parametrize(
    ("how", "status", "detail", "parameter"),
    [
        ("input", 400, "the picture is none", "image"),
        ("busy", 503, "many wait", None),
    ],
)
def test_an_error_of_ours_is_told(
    client: TestClient, how: str, status: int, detail: str, parameter: str | None
) -> None:
    answer = client.get(f"/v1/fails/{how}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["detail"], answer.json().get("parameter")) == (detail, parameter)
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize("how", ["backend", "unknown"])
def test_an_error_that_is_not_theirs_is_in_the_log_only(
    client: TestClient, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "sal.service"):
        answer = client.get(f"/v1/fails/{how}")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret" in caplog.text
    assert caplog.records[-1].request in answer.json()["detail"]  # type: ignore[attr-defined]


def test_what_is_nowhere_and_what_takes_no_such_method(client: TestClient) -> None:
    assert client.get("/v1/nowhere").json()["detail"] == "There is nothing at this address."
    answer = client.patch("/v1/galleries/door/words")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["detail"].endswith("it takes GET.")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"limit": 0}', "limit: Input should be greater than or equal to 1"),
        (b'{"limt": 3}', "limt: Extra inputs are not permitted"),
        (b'{"limit": ', "no JSON: Expecting value, character 10."),
        (b"\xff\xfe", "no UTF-8: see byte 0."),
        ('{"description": "x"}'.encode("utf-16"), "no UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"where": ' * 5_000 + b"}" * 5_000, "nested too deeply"),
        (b'{"min_likelihood": NaN}', "NaN is no number of JSON"),
        (b'{"min_likelihood": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"min_likelihood": 1e999}', "a number is too large"),
        (b'{"limit": 1' + b"0" * 5000 + b"}", "too many figures"),
        (b'{"limit": 3, "limit": 4}', "a key appears twice"),
        (b'{"where": {"tracks": [], "tracks": []}}', "a key appears twice"),
        (b'{"description": "\\ud800"}', "description"),
        (b'{"description": "a\\u0000b"}', "description"),
        (b'\xef\xbb\xbf{"limit": 3}', "no JSON"),
        (b"", "Field required"),
        (b"null", ""),
    ],
)
def test_a_body_that_is_wrong_is_400(client: TestClient, body: bytes, detail: str) -> None:
    answer = client.post("/v1/galleries/door/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert detail in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_was_refused_is_not_repeated(client: TestClient) -> None:
    answer = client.post("/v1/session", json={"token": ["sal_secret"]})
    assert answer.status_code == 400
    assert "secret" not in answer.text


def test_openapi_tells_the_problems_of_every_route() -> None:
    description = make_app().openapi()
    operations = [operation for path in description["paths"].values() for operation in path.values()]
    assert len(operations) >= 10
    for operation in operations:
        assert {"400", "401", "403", "429", "500", "503"} <= operation["responses"].keys()
        assert "422" not in operation["responses"]
        for status, answer in operation["responses"].items():
            assert (list(answer.get("content", {})) == ["application/problem+json"]) == (int(status) >= 400)
    assert "404" in description["paths"]["/v1/galleries/{gallery}/words"]["get"]["responses"]
    text = json.dumps(description)
    assert "ValidationError" not in text
    assert '"Problem": {' in text


def test_openapi_tells_how_to_sign_in() -> None:
    description = make_app().openapi()
    assert description["paths"]["/v1/slow"]["get"]["security"] == [{"HTTPBearer": []}, {"APIKeyCookie": []}]
    assert "security" not in description["paths"]["/healthz"]["get"]

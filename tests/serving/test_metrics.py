"""GET /metrics says what happened."""

from __future__ import annotations

import re

import pytest

from serving.conftest import encoded
from softpoint.serving.metrics import Histogram

LINE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z]+="[^"\\]*",?)+)\})? ([-+0-9.eInf]+)$')


def read(page: str) -> dict[str, float]:
    """Each sample of a page in Prometheus' text format, every line of which must be one, or say what one is."""
    assert page.endswith("\n")
    lines = [
        line
        for line in page.splitlines()
        if not re.match(r"^# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))$", line)
    ]
    found = [LINE.match(line) for line in lines]
    assert all(found), lines
    return {f"{match[1]}{{{match[2] or ''}}}": float(match[3]) for match in found if match}


def test_requests_are_counted_by_how_they_ended(talk):
    async def conversation(client, _):
        for body in (encoded(5, 5), encoded(5, 6), b"", b"text"):
            await client.post("/predict", content=body)
        for path in ("/health", "/nowhere", '/no"where', "/else"):
            await client.get(path)
        return await client.get("/metrics")

    response = talk(conversation)
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = read(response.text)
    assert {key: value for key, value in found.items() if "requests_total" in key} == {
        'softpoint_requests_total{path="/predict",status="200"}': 2,
        'softpoint_requests_total{path="/predict",status="400"}': 1,
        'softpoint_requests_total{path="/predict",status="415"}': 1,
        'softpoint_requests_total{path="/health",status="200"}': 1,
        'softpoint_requests_total{path="other",status="404"}': 3,
    }
    assert found["softpoint_predict_seconds_count{}"] == 4 == found['softpoint_predict_seconds_bucket{le="+Inf"}']
    assert found["softpoint_predict_seconds_sum{}"] > 0
    assert found["softpoint_batch_images_sum{}"] == 2
    assert found["softpoint_queue_images{}"] == 0 == found["softpoint_requests_in_work{}"]


@pytest.mark.parametrize("bounds", [(1.0,), (0.5, 2, 3.5), (2, 3)])
def test_a_bucket_holds_all_up_to_its_bound(bounds):
    values = [0.0, 0.5, 0.75, 2.0, 3.0, 3.5, 4.0]
    histogram = Histogram("name", "of something", bounds)
    for value in values:
        histogram.observe(value)
    found = read("\n".join(histogram.lines()) + "\n")
    for bound in bounds:
        assert found[f'name_bucket{{le="{bound}"}}'] == sum(value <= bound for value in values)
    assert found["name_count{}"] == len(values) and found["name_sum{}"] == pytest.approx(sum(values))

"""GET /metrics counts what happened, in the format of Prometheus."""

from __future__ import annotations

import pytest

from serving.conftest import encoded


def test_requests_are_counted_by_path_and_status(talk):
    parser = pytest.importorskip("prometheus_client.parser")

    async def conversation(client, _):
        for body in (encoded(5, 5), encoded(5, 6), b"", b"text"):
            await client.post("/predict", content=body)
        for path in ("/health", "/nowhere", '/no"where', "/else"):
            await client.get(path)
        return await client.get("/metrics")

    response = talk(conversation)
    assert response.headers["content-type"].startswith("text/plain; version=")
    samples = [sample for family in parser.text_string_to_metric_families(response.text) for sample in family.samples]
    counts = {tuple(s.labels.values()): s.value for s in samples if s.name == "softpoint_requests_total"}
    assert counts == {
        ("/predict", "200"): 2, ("/predict", "400"): 1, ("/predict", "415"): 1, ("/health", "200"): 1,
        ("other", "404"): 3,
    }  # fmt: skip
    values = {sample.name: sample.value for sample in samples if not sample.labels}
    assert values["softpoint_predict_seconds_count"] == 4 and values["softpoint_predict_seconds_sum"] > 0
    assert values["softpoint_batch_images_sum"] == 2
    assert values["softpoint_queue_images"] == 0 == values["softpoint_requests_in_progress"]

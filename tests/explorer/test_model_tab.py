"""What the tab of a model shows, without a browser."""

from __future__ import annotations

import base64
import csv
import html
import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gradio", reason="exploring needs gradio: pip install 'softpoint[explore]'")

from helpers import videos
from softpoint.explorer import maps
from softpoint.explorer.data_tab import AuditedSet
from softpoint.explorer.maps import one_forward, one_thread
from softpoint.explorer.model_page import show, show_maps
from softpoint.explorer.model_tab import _choose, _look_again, _receive, dragged_box, parse_box
from softpoint.explorer.predictions import read, see
from softpoint.images.video import Video
from softpoint.inference import Predictor
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import DynamicSpatialAttention
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead
from softpoint.viz import write_image

IMAGE = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
NAMES = ("<nose>", "tail")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    decoder = partial(FusionDecoder, channels=8)
    net = KeypointNet(2, Small(width=8), decoder, SoftArgmaxHead, DynamicSpatialAttention, (3,))
    net.head.logits.weight.data *= 30  # as of a trained one: its heatmaps are not flat
    net.calibration.set(radius=torch.tensor(3.0))
    return Predictor(net, Skeleton(NAMES), (64, 96), "cpu", explain=True)


def test_the_prediction_is_that_of_the_predictor_and_a_temperature_that_of_its_head(predictor: Predictor) -> None:
    seen, expected = see(predictor, IMAGE, "a.png"), predictor(IMAGE)
    for name, value in read(predictor, seen).prediction.items():
        np.testing.assert_array_equal(value, expected[name])
    warm = read(predictor, seen, 3.0)
    try:
        predictor.net.head.fixed_temperature = 3.0
        direct = predictor(IMAGE)
    finally:
        predictor.net.head.fixed_temperature = 1.0
    for name, value in warm.prediction.items():
        np.testing.assert_allclose(value, direct[name], rtol=1e-4)
    assert not np.allclose(warm.prediction["confidence"], expected["confidence"], rtol=1e-3)


def test_networks_compute_one_at_a_time_and_afterwards_on_all_threads(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as other, one_forward():
        waiting = other.submit(see, predictor, IMAGE, "a.png")
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
    assert waiting.result().name == "a.png"
    before = torch.get_num_threads()
    monkeypatch.setattr(maps, "_THREADS", 3)
    try:
        first, second = one_thread(), one_thread()
        first.__enter__(), second.__enter__()
        assert torch.get_num_threads() == 1
        first.__exit__(None, None, None), second.__exit__(None, None, None)
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_files_and_tables_hold_what_is_above_the_threshold(predictor: Predictor) -> None:
    seen, expected = see(predictor, IMAGE, "a.png"), predictor(IMAGE)
    low, high = np.argsort(expected["confidence"])
    page = show(predictor, seen, threshold=float(expected["confidence"].mean()))
    links = re.findall(r'download="([^"]+)" href="data:[a-z/]+;base64,([^"]+)"', page)
    files = {name: base64.b64decode(data).decode() for name, data in links}
    assert [*files] == ["predictions.csv", "predictions_coco.json", "predictions_coco_images.json"]
    (row,) = csv.DictReader(StringIO(files["predictions.csv"]))
    assert row["image"] == "a.png" and row[f"{NAMES[low]}_x"] == ""
    assert float(row[f"{NAMES[high]}_x"]) == pytest.approx(expected["keypoints"][high, 0], abs=1e-3)
    (subject,) = json.loads(files["predictions_coco.json"])
    assert subject["keypoints"][3 * low : 3 * low + 3] == [0, 0, 0]
    assert "1 of 2 keypoints" in page and "<nose>" not in page and html.escape("<nose>") in page
    assert "What each confidence is made of" in page
    page += show_maps(predictor, seen)
    assert page.count("<img") == 3 == len(re.findall('alt="[^"]', page))


def test_frames_of_a_video_are_seen_one_at_a_time_and_it_is_opened_once(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av", reason="videos are read by PyAV: pip install 'softpoint[video]'")
    path = str(videos.film(tmp_path / "a.mp4", count=6))
    source, slider, *_, seen, _, _ = _receive(predictor, path)
    assert str(source.path) == path and (slider.maximum, slider.visible) == (5, True)
    assert (seen.frame, seen.size) == (0, (48, 64))
    monkeypatch.setattr(Video, "__init__", None)
    later, page, _ = _look_again(predictor, None, source, 4, "")
    assert later.frame == 4 and "a.mp4, frame 4" in page
    assert abs(later.image.mean() - videos.gray(4)) < 6
    Path(path).unlink()
    assert "upload it again" in _look_again(predictor, None, source, 4, "")[1]


def test_a_network_of_crops_sees_the_box_that_is_written_dragged_or_labeled(
    predictor: Predictor, data: AuditedSet, tmp_path: Path
) -> None:
    crops = Predictor(predictor.net, predictor.skeleton, (64, 96), "cpu", {"padding": 1.25, "boxes": None})
    write_image(tmp_path / "upload.png", IMAGE)
    seen, page, _ = _look_again(crops, None, tmp_path / "upload.png", 0, "5, 8, 45.5, 40")
    expected = crops(IMAGE, (5, 8, 45.5, 40))["keypoints"]
    np.testing.assert_array_equal(read(crops, seen).prediction["keypoints"], expected)
    columns = "image,box_left,box_top,box_right,box_bottom,"
    assert columns in base64.b64decode(re.findall(r"text/csv;base64,([^\"]+)", page)[0]).decode()
    assert dragged_box({"start": [0.9, 0.2], "end": [0.1, 7]}, seen) == "6.5, 9.5, 62.5, 49.5"
    row, slider, box, _, seen, *_ = _choose(crops, data, " 2")
    subject = data.loaded.labels.subjects[1]
    assert row == 1 and seen.name == subject.image and slider.visible is False
    np.testing.assert_allclose(parse_box(box), data.boxes(None)[1], atol=0.05)
    for wrong in ("0", "7", "x", "²", "-1"):
        assert "is no labeled subject" in _choose(crops, data, wrong)[-2]
    for wrong in ("5", "5, 8, 4, 40", "1, 2, 3, x", "1, 2, 3, 4, 5", "nan, 0, 1, 1"):
        assert "is no box" in _look_again(crops, data, 1, 0, wrong)[1]


@pytest.mark.parametrize(("name", "content"), [("a.mp4", b"no video"), ("a.png", b"no image"), ("a.png", b"")])
def test_a_file_that_cannot_be_used_is_named_alone(
    predictor: Predictor, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    page = _receive(predictor, str(tmp_path / name))[-2]
    assert 'role="alert"' in page and name in page and str(tmp_path) not in page

"""examples/javascript gets the coordinates that Python gets, from the same file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from helpers.spots import FIVE, finding_spots, spots
from helpers.training import ROOT, composed, tiny
from softpoint.inference import Checkpoint, load_predictor
from softpoint.labels.skeleton import Skeleton
from softpoint.runtime import ellipse_axes

EXAMPLE = ROOT / "examples/javascript"
PACKAGE = "onnxruntime-web"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example beside what it imports, for NODE_PATH does not serve modules."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    places = [str(EXAMPLE / "node_modules"), *os.environ.get("NODE_PATH", "").split(os.pathsep)]
    found = next((Path(place) for place in places if place and (Path(place) / PACKAGE).is_dir()), None)
    if found is None:
        pytest.skip(f"{PACKAGE} is not installed: npm install in {EXAMPLE}, or set NODE_PATH to a node_modules with it")
    folder = tmp_path_factory.mktemp("example")
    for path in EXAMPLE.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(found)
    return folder


def checkpoint_of(folder: Path, crops: dict | None, channels: int = 3) -> Checkpoint:
    """A small network that no training has to make."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f'exporting needs {name}: pip install -e ".[export]"')
    model = instantiate(composed("train", tiny(), folder / "run").model)
    net = model(num_keypoints=3, in_channels=channels).eval()
    with torch.no_grad():
        for weight in net.head.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn_like(weight))  # maps with clear maxima, as a trained head has
    net.calibration.set(radius=torch.tensor(3.0), log_scale=torch.tensor([-0.5, 0.0, 0.5]))
    weights = folder / "best.ckpt"
    weights.write_bytes(b"weights")
    return Checkpoint(net, Skeleton(("nose", "left ear", "tail")), (64, 96), crops, {}, weights)


def exported(checkpoint: Checkpoint, path: Path, subjects: Any = None) -> Path:
    """The file that softpoint export writes."""
    from softpoint.inference.export import ExportOptions, export

    export(checkpoint, load_predictor(checkpoint), path, ExportOptions(subjects=subjects))
    return path


def run(example: Path, *words: str) -> subprocess.CompletedProcess:
    # A busy machine takes a minute for what takes two seconds.
    return subprocess.run(["node", *words], cwd=example, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crops", "box", "channels"),
    [(None, None, 3), ({"padding": 1.25, "boxes": None}, [10.0, 5.5, 70.0, 60.0], 3), (None, None, 1)],
    ids=["whole", "crop", "gray"],
)
@pytest.mark.usefixtures("unchecked")
def test_it_prints_what_python_answers(
    example: Path, tmp_path: Path, crops: dict | None, box: list[float] | None, channels: int
):
    model = exported(checkpoint_of(tmp_path, crops, channels), tmp_path / "model.onnx")
    from softpoint.runtime import load

    image = np.random.default_rng(0).integers(0, 256, (75, 101, 3), np.uint8)
    decodes = crops is not None and (example / "node_modules/sharp").is_dir()
    file = tmp_path / ("image.png" if decodes else "image.ppm")
    Image.fromarray(image).save(file)
    words = [] if box is None else [",".join(map(str, box))]
    ending = run(example, "predict.mjs", str(model), str(file), *words)
    assert ending.returncode == 0, ending.stderr
    told, answer = json.loads(ending.stdout), load(model, threads=1)(image, box)
    assert [point["name"] for point in told] == ["nose", "left ear", "tail"]
    found = np.array([[point["x"], point["y"]] for point in told])
    assert np.abs(found - answer["keypoints"]).max() < 0.01
    assert np.ptp(found) > 1  # pixels, so that it is no coincidence
    np.testing.assert_allclose([point["confidence"] for point in told], answer["confidence"], atol=1e-4)
    np.testing.assert_allclose(
        [point["covariance"] for point in told], answer["covariance"].reshape(-1, 4), rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_it_prints_the_subjects_that_python_finds(example: Path, tmp_path: Path):
    checkpoint = finding_spots(checkpoint_of(tmp_path, {"padding": 1.25, "boxes": None}))
    from softpoint.inference.export import Subjects
    from softpoint.runtime import load

    path = exported(checkpoint, tmp_path / "model.onnx", Subjects(9, 0.4))
    for count in (0, 3):
        image = spots((75, 101), FIVE[:count])
        Image.fromarray(image).save(tmp_path / "image.ppm")
        ending = run(example, "predict.mjs", str(path), str(tmp_path / "image.ppm"))
        assert ending.returncode == 0, ending.stderr
        told, answer = json.loads(ending.stdout), load(path, threads=1)(image)
        assert len(told) == count == len(answer["scores"])
        for i, subject in enumerate(told):
            assert subject["score"] == pytest.approx(answer["scores"][i], abs=1e-4)
            assert subject["box"] == pytest.approx(answer["boxes"][i].tolist(), abs=0.01)
            assert [point["name"] for point in subject["keypoints"]] == ["nose", "left ear", "tail"]
            points = [[point["x"], point["y"]] for point in subject["keypoints"]]
            np.testing.assert_allclose(points, answer["keypoints"][i], atol=0.01)
    refused = run(example, "predict.mjs", str(path), str(tmp_path / "image.ppm"), "1,1,9,9")
    assert refused.returncode == 1 and "finds the subjects itself and takes no box" in refused.stderr


def test_it_reads_the_pixels_of_a_canvas(example: Path):
    code = """
    import { fromRgba } from "./keypoints.mjs";
    const data = Uint8ClampedArray.of(1, 2, 3, 255, 4, 5, 6, 0, 7, 8, 9, 128);
    const image = fromRgba({ height: 3, width: 1, data });
    console.log(JSON.stringify([image.height, image.width, image.data instanceof Uint8Array, [...image.data]]));
    """
    ending = run(example, "--input-type=module", "--eval", code)
    assert ending.returncode == 0, ending.stderr
    assert json.loads(ending.stdout) == [3, 1, True, [1, 2, 3, 4, 5, 6, 7, 8, 9]]


def test_regions_are_those_of_python():
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    factors = np.random.default_rng(0).normal(size=(6, 2, 2))
    covariance, radii = factors @ factors.transpose(0, 2, 1), np.arange(1.0, 7)
    names = [f"k{i}" for i in range(7)]
    radius = dict(zip(names, [*radii, None], strict=True))
    metadata = json.dumps({"keypoints": names, "regions": [{"level": 0.9, "radius": radius, "joint": None}]})
    points = json.dumps([{"covariance": matrix.ravel().tolist()} for matrix in (*covariance, np.eye(2))])
    code = f"""
    import {{ regions }} from "./keypoints.mjs";
    console.log(JSON.stringify([regions({points}, {metadata}), regions({points}, {metadata}, 0.5)]));
    """
    ending = run(EXAMPLE, "--input-type=module", "--eval", code)
    assert ending.returncode == 0, ending.stderr
    (*found, unknown), none = json.loads(ending.stdout)
    assert unknown is None and none == [None] * 7
    told = [[ellipse["long"], ellipse["short"], ellipse["angle"]] for ellipse in found]
    np.testing.assert_allclose(told, ellipse_axes(covariance, radii), rtol=1e-6)


def test_an_image_that_is_cut_short_is_refused_in_one_line(example: Path, tmp_path: Path):
    (cut := tmp_path / "cut.ppm").write_bytes(b"P6 9 9 255\n" + bytes(242))
    ending = run(example, "predict.mjs", str(tmp_path / "model.onnx"), str(cut))
    assert ending.returncode == 1 and ending.stderr == f"{cut}: not a complete binary PPM of 8 bits\n"

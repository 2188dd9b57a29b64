"""A file that finds subjects answers what its checkpoint does: none, one, several, and no more than it may."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnxruntime", reason='needs the extra: pip install -e ".[export]"')
pytest.importorskip("onnxscript", reason='needs the extra: pip install -e ".[export]"')

from helpers.spots import FIVE, finding_spots, spots
from softpoint.data.geometry import letterbox_matrix, warp
from softpoint.inference import Checkpoint, Predictor
from softpoint.inference.export import ExportOptions, Subjects, export
from softpoint.inference.export.formats import Layout
from softpoint.inference.export.resample import letterboxed
from softpoint.inference.export.resample_region import resample_region, translations
from softpoint.inference.export.subject_file import write_subjects
from softpoint.inference.export.subjects import FindSubjects
from softpoint.inference.subjects import SubjectPredictor, distinct_poses, subject_finder
from softpoint.runtime import load

SHORT = "head.decode=expectation"
MOST = 4
# Of spots in an image of 140 x 190 pixels.
PLACES = [(20.0 + 30 * i, 20.0 + 30 * j, 1 - 0.02 * (i + 5 * j)) for i in range(6) for j in range(4)]


@pytest.fixture
def multi(make):
    """Makes a checkpoint whose finder sees a subject in each bright spot."""

    def making(*overrides: str, channels: int = 3) -> Checkpoint:
        crops = {"padding": 1.25, "boxes": None}
        return finding_spots(make(SHORT, f"model.in_channels={channels}", *overrides, crops=crops))

    return making


def exported(checkpoint: Checkpoint, path: Path, options: ExportOptions):
    predictor = Predictor(checkpoint.net, checkpoint.skeleton, checkpoint.size, "cpu", checkpoint.crops)
    finder = subject_finder(checkpoint, options.subjects.threshold, options.subjects.most)
    return SubjectPredictor(predictor, finder), export(checkpoint, predictor, path, options)


def check_same(found, answer: dict[str, np.ndarray]) -> None:
    assert len(answer["scores"]) == len(found.score)
    np.testing.assert_allclose(answer["keypoints"], found.keypoints, atol=0.01)
    np.testing.assert_allclose(answer["confidence"], found.confidence, atol=1e-3)
    np.testing.assert_allclose(answer["covariance"], found.covariance, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(answer["scores"], found.score, atol=1e-4)
    np.testing.assert_allclose(answer["boxes"], found.boxes, atol=0.01)


def test_a_file_finds_and_reads_as_many_subjects_as_its_checkpoint(multi, tmp_path: Path) -> None:
    path, checkpoint = tmp_path / "model.onnx", multi()
    predictor, (difference, metadata) = exported(checkpoint, path, ExportOptions(subjects=Subjects(MOST, 0.4)))
    assert difference.largest < 0.01 and difference.subjects > 0
    model, images = load(path, threads=1), []
    for count in (0, 1, 3, 5):
        for size in ((75, 101), (150, 202)):  # the finder's input is smaller than one, and than half of the other
            places = [(u * size[0] / 75, v * size[0] / 75, b) for u, v, b in FIVE[:count]]
            images.append(spots(size, places))
            answer = model(images[-1])
            check_same(predictor(images[-1]), answer)
            assert len(answer["scores"]) == min(count, MOST)
            assert answer["scores"].tolist() == sorted(answer["scores"], reverse=True)
    centers = answer["boxes"].reshape(-1, 2, 2).mean(1)
    apart = np.linalg.norm(centers[:, None] - np.array(places)[:, :2], axis=-1)
    assert sorted(apart.argmin(1)) == [0, 1, 2, 3] and apart.min(1).max() < 8  # the fifth is the darkest
    together = model(images)
    assert [len(one["scores"]) for one in together] == [0, 0, 1, 1, 3, 3, 4, 4]
    check_same(predictor(images[5]), together[5])
    middle = float(answer["scores"][1:3].mean())
    assert len(model(images[-1], threshold=middle)["scores"]) == 2
    assert len(load(path, threads=1, threshold=middle)(images[-1])["scores"]) == 2
    with pytest.raises(ValueError, match="takes no boxes; softpoint export finder=false"):
        model(images[0], [0, 0, 9, 9])
    with pytest.raises(ValueError, match=r"threshold=2 must be a probability"):
        load(path, threshold=2)
    assert metadata == json.loads((tmp_path / "model.onnx.json").read_text()) == model.metadata
    assert metadata["finder"] == {"size": [64, 96], "max_subjects": MOST, "threshold": 0.4}
    assert metadata["outputs"] == ["keypoints", "confidence", "covariance", "scores", "boxes"]


def test_gray_images_of_one_size_have_heatmaps_and_visibility_of_each_subject(multi, tmp_path: Path) -> None:
    checkpoint = multi("head=soft_argmax", "head.visibility=true", channels=1)
    options = ExportOptions(heatmaps=True, size=(75, 101), opset=20, subjects=Subjects())
    predictor, _ = exported(checkpoint, tmp_path / "model.onnx", options)
    model = load(tmp_path / "model.onnx", threads=1)
    assert model.fixed_size == (75, 101) and model.fixed_batch == 1
    image = spots((75, 101), FIVE, 1)
    answer, found = model(image), predictor(image)
    check_same(found, answer)
    np.testing.assert_allclose(answer["visibility"], found.visibility, atol=1e-3)
    np.testing.assert_allclose(answer["heatmaps"].sum((-2, -1)), np.ones((5, 3)), atol=1e-5)
    assert model(spots((75, 101), [], 1))["heatmaps"].shape == (0, *answer["heatmaps"].shape[1:])
    with pytest.raises(ValueError, match=r"images of \(75, 101\) .* got \(60, 70\)"):
        model(np.zeros((60, 70, 1), np.uint8))


def test_a_file_that_loses_a_subject_is_deleted(multi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, module = multi(), import_module("softpoint.inference.export.export")

    class Blind:
        def __init__(self, finder) -> None:
            self.finder = finder

        def __call__(self, image: np.ndarray, _=None, threshold=None) -> dict[str, np.ndarray]:
            found = self.finder(image)
            names = {"keypoints": found.keypoints, "confidence": found.confidence, "covariance": found.covariance}
            return {name: part[1:] for name, part in (names | {"scores": found.score, "boxes": found.boxes}).items()}

    predictor = Predictor(checkpoint.net, checkpoint.skeleton, checkpoint.size, "cpu", checkpoint.crops)
    blind = Blind(SubjectPredictor(predictor, subject_finder(checkpoint, 0.0, 20)))
    format = module.FORMATS["onnx"]._replace(open=lambda *_: (blind, {}))
    monkeypatch.setitem(module.FORMATS, "onnx", format)
    monkeypatch.setattr(module, "Model", Blind)
    monkeypatch.setattr(module, "write_subjects", lambda *arguments: arguments[2].write_bytes(b"file"))
    with pytest.raises(ValueError, match=r"predicts another number of subjects than .*best.ckpt; it was deleted"):
        export(checkpoint, predictor, tmp_path / "model.onnx", ExportOptions(subjects=Subjects()))
    assert not list(tmp_path.glob("*.onnx*"))


def test_finds_are_those_of_the_checkpoint_where_boxes_overlap(multi) -> None:
    checkpoint = multi()
    with torch.no_grad():
        checkpoint.net.finder.boxes.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
        checkpoint.net.finder.boxes.bias += 2.0  # boxes that are larger than the image
    image = spots(
        (140, 190), [(20.0 + 30 * i, 20.0 + 30 * j, 1 - 0.02 * (i + 5 * j)) for i in range(6) for j in range(4)]
    )
    kept = set[int]()
    for threshold, most in ((0.0, 3), (0.0, 150), (0.3, 150)):
        (finds,) = subject_finder(checkpoint, threshold, most)([image], 1)
        with torch.no_grad():
            boxes, scores = FindSubjects(checkpoint, most)(torch.from_numpy(image)[None], torch.tensor(threshold))
        np.testing.assert_allclose(boxes, finds.boxes, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(scores, finds.score, rtol=1e-4)
        kept.add(len(scores))
    assert len(kept) == 3 and max(kept) < 24  # some stand for another's subject


class Middle(nn.Module):
    """In the place of an `ExportModule`: reads the middle of each box as its three keypoints."""

    size, padding, outputs = (64, 96), 1.25, ["keypoints", "confidence"]

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def read(self, placed, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        middle = (torch.tensor([47.5, 31.5]) - placed.offset) / placed.scale[:, None]
        return middle[:, None].expand(-1, 3, -1).float(), inputs.mean((1, 2, 3))[:, None].expand(-1, 3)


@pytest.mark.parametrize("most", [1, 200])
def test_poses_are_kept_as_by_the_checkpoint_whatever_their_number(multi, tmp_path: Path, most: int) -> None:
    import onnxruntime

    checkpoint, metadata = multi(), {"finder": {"max_subjects": most, "threshold": 0.0}}
    with torch.no_grad():
        checkpoint.net.finder.boxes.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
        checkpoint.net.finder.boxes.bias += 2.0
    write_subjects(checkpoint, Middle(checkpoint.net), tmp_path / "model.onnx", metadata, Layout())
    session, numbers = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")), []
    for count in (0, 1, 24):
        image = spots((140, 190), PLACES[:count])
        (finds,) = subject_finder(checkpoint, 0.0, most)([image], 1)
        middles = finds.boxes.reshape(-1, 1, 2, 2).mean(2).repeat(3, 1)
        rows = distinct_poses([{"keypoints": middle} for middle in middles], finds.boxes)
        points, confidence, scores, boxes = session.run(None, {"images": image[None]})
        assert points.shape == (len(rows), 3, 2) and confidence.shape == (len(rows), 3)
        np.testing.assert_allclose(boxes, finds.boxes[rows], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(points, middles[rows], atol=1e-2)
        np.testing.assert_allclose(scores, finds.score[rows], atol=1e-4)
        numbers.append((len(finds.boxes), len(rows)))
    assert numbers[0] == (0, 0) and numbers[1][1] == 1
    assert most < 200 or numbers[2][0] > numbers[2][1] > 1  # some are of an earlier one's pose


def test_a_region_is_resampled_as_by_the_warp_in_the_file_too(tmp_path: Path) -> None:
    class Whole(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return resample_region(images, *letterboxed((images.shape[1], images.shape[2]), (64, 96), images), 64, 96)

    import onnxruntime

    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        Whole().eval(), (torch.zeros(1, 70, 90, 2, dtype=torch.uint8),), dynamo=True, opset_version=18, verbose=False,
        dynamic_shapes=({1: free, 2: free},), custom_translation_table=translations(),
    )  # fmt: skip
    program.save(tmp_path / "region.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "region.onnx"))
    for size in ((480, 640), (129, 193), (128, 192), (33, 200), (5, 3), (1, 1), (64, 96)):
        image = np.random.default_rng(0).integers(0, 256, (*size, 2), dtype=np.uint8)
        (actual,) = session.run(None, {session.get_inputs()[0].name: image[None]})
        expected = warp(image.astype(np.float32), letterbox_matrix(size, (64, 96)), (64, 96))
        np.testing.assert_allclose(actual[0].transpose(1, 2, 0), expected, atol=0.02)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "torch_export"}, r"format=torch_export cannot hold .* finder=false"),
        ({"format": "litert", "size": (64, 64)}, r"format=litert cannot hold .* finder=false"),
        ({"precision": "float16"}, r"precision=float16 .* finder=false"),
        ({"batch": 2}, r"batch=2: .* one image at a time; finder=false"),
        ({"subjects": Subjects(0)}, "max_subjects=0 must be a whole number from 1 to 200"),
        ({"subjects": Subjects(5, 1.5)}, r"subject_threshold=1\.5 must be a probability"),
    ],
)
def test_what_cannot_hold_a_finder_is_refused_with_the_way_out(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExportOptions(**{"subjects": Subjects(), **wrong})


def test_a_checkpoint_without_a_finder_is_refused(make, tmp_path: Path) -> None:
    checkpoint = make(crops={"padding": 1.25, "boxes": None})
    predictor = Predictor(checkpoint.net, checkpoint.skeleton, checkpoint.size, "cpu", checkpoint.crops)
    with pytest.raises(ValueError, match=r"finds no subjects; one of a training with data\.mode=multi does"):
        export(checkpoint, predictor, tmp_path / "model.onnx", ExportOptions(subjects=Subjects()))

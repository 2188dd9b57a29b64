"""A run becomes a file that runs alone, from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript", reason='needs the extra: pip install -e ".[export]"')
pytest.importorskip("onnxruntime", reason='needs the extra: pip install -e ".[export]"')

pytestmark = pytest.mark.usefixtures("unchecked")


def test_a_run_becomes_a_file_a_sidecar_and_a_card(start: Callable, run: Path, tmp_path: Path) -> None:
    from softpoint import load_predictor
    from softpoint.runtime import load

    content, checkpoint, images = (
        torch.load(run / "checkpoints" / "best.ckpt", weights_only=True),
        tmp_path / "best.ckpt",
        tmp_path / "images",
    )
    content["hyper_parameters"]["head"]["decode"] = "expectation"  # whose program is half as long
    torch.save(content, checkpoint)
    images.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(images / "a.png"), image[..., ::-1])
    output = tmp_path / "out" / "model.onnx"
    fixed = "image_size=[90,70]", "batch=1"  # whose program is traced in half the time
    ending = start("export", f"ckpt={checkpoint}", f"output={output}", f"images={images}", *fixed)
    assert ending.code == 0, ending.err
    said = "writing {}", "opening {} in its runtime", "comparing {} with the checkpoint on 5 images"
    assert [text.format(output.name) for text in said] == ending.err.splitlines()[-3:]
    assert "compared with the checkpoint" in ending.out and "on 1 images" in ending.out
    found, expected = load(output)(image), load_predictor(checkpoint)(image)
    np.testing.assert_allclose(found["keypoints"], expected["keypoints"], atol=0.01)
    assert json.loads((tmp_path / "out" / "model.onnx.json").read_text())["precision"] == "float32"
    assert "model.onnx" in (tmp_path / "out" / "model.onnx.md").read_text()


def test_all_formats_are_rows_of_a_table_and_why_others_are_missing_is_said(
    start: Callable, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = import_module("softpoint.inference.export")

    def write(_checkpoint, _predictor, path: Path, options, _images, say):
        say("writing")
        if options.format == "aoti":
            raise RuntimeError("no compiler")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(2_500_000))
        return package.Difference(1, 0.25, 0.5), {}

    opened = {name: entry._replace(open=lambda *_: (lambda *_: {}, {})) for name, entry in package.FORMATS.items()}
    monkeypatch.setattr(package, "FORMATS", opened)
    monkeypatch.setattr(package, "export", write)
    checkpoint, output = run / "checkpoints" / "best.ckpt", tmp_path / "out"
    ending = start("export", f"ckpt={checkpoint}", "format=all", f"output={output}", "warn=false")
    assert ending.code == 0, ending.err
    cells = [line.replace(" ", "").split("│") for line in ending.out.splitlines() if line.startswith("│")]
    rows = {name: [size, difference] for _, name, size, difference, *_ in cells}
    assert rows[f"{run.name}-onnx.onnx"] == rows[f"{run.name}-openvino.onnx"] == ["2.5", "0.5000"]
    assert {"onnx, 1 of 6: writing", "aoti, 4 of 6: not written: no compiler"} < {*ending.err.splitlines()}
    assert "aoti: not written: no compiler" in ending.out and len(list(output.glob("*.md"))) == 5
    assert {f"{run.name}-litert.tflitefor64x64", f"{run.name}-executorch.ptefor64x64"} < {*rows}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("format=onyx",), "format='onyx': did you mean 'onnx'"),
        (("precision=int8", "images={empty}"), "{empty}"),
        (("image_size=[0,4]",), "image_size"),
        (("image_size=4",), "image_size"),
    ],
)
def test_mistakes_end_in_a_sentence_and_leave_nothing(
    start: Callable, run: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [word.format(empty=tmp_path / "empty") for word in words]
    ending = start("export", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"output={tmp_path / 'm.onnx'}", *filled)
    assert ending.code == 1 and says.format(empty=tmp_path / "empty") in ending.err
    assert ending.err.count("\n") < 3
    assert not list(tmp_path.glob("*.onnx*"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("format=onyx",), "format='onyx': did you mean 'onnx'"),
        (("format=all", "precision=int4"), "precision='int4': did you mean 'int8'"),
        (("format=litert",), "format=litert takes images of one size: add image_size=[HEIGHT,WIDTH]"),
        (("hub=me/mice",), "hub=me/mice uploads the folder of format=safetensors"),
        (("format=safetensors", "hub=mice"), "hub='mice' is no name on the Hub"),
        (("opset=9",), "opset=9 must be from 18 to 23"),
    ],
)
def test_wrong_options_are_refused_before_the_checkpoint_is_read(
    start: Callable, words: tuple[str, ...], says: str
) -> None:
    ending = start("export", "ckpt=none.ckpt", *words)
    assert ending.code == 1 and says in ending.err


def test_options_are_checked_without_torch() -> None:
    code = (
        "import sys; from omegaconf import OmegaConf; from softpoint.cli.export import main\n"
        "cfg = dict(format='onyx', precision='float32', image_size=None, batch=None, opset=18, hub=None)\n"
        "try: main(OmegaConf.create(cfg))\n"
        "except ValueError as error: print(error, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "format='onyx': did you mean 'onnx'? False"


def test_a_run_becomes_a_folder_that_every_command_reads(start: Callable, run: Path, tmp_path: Path) -> None:
    from softpoint import load_predictor

    checkpoint, folder = run / "checkpoints" / "best.ckpt", tmp_path / "shared"
    ending = start("export", f"ckpt={checkpoint}", "format=safetensors", f"output={folder}")
    assert ending.code == 0 and "read back with equal weights" in ending.out, ending.err
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    expected, actual = load_predictor(checkpoint)(image), load_predictor(folder)(image)
    assert all(np.array_equal(expected[name], actual[name]) for name in expected)
    ending = start("predict", f"ckpt={folder}", f"source={tmp_path / 'a.png'}", f"output={tmp_path / 'out'}")
    assert ending.code == 0 and (tmp_path / "out" / "predictions.csv").is_file(), ending.err
    assert len(json.loads((tmp_path / "out" / "job.json").read_text())["job"]["ckpt"]) == 64

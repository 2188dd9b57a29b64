"""What is compiled how often, where it is kept, and what is said where nothing can be compiled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers.training import built, composed, tiny
from softpoint.renamed_keys import advice
from softpoint.training.compiled import prepare_compiler

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The .grad attribute")


@pytest.mark.usefixtures("unchecked")
def test_a_part_is_compiled_once_for_each_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()  # or it knows from other tests that the number of images varies
    graphs: dict[nn.Module, list[Any]] = {}

    def compile_counted(part: nn.Module) -> None:
        found = graphs[part] = []
        part._compiled_call_impl = torch.compile(
            part._call_impl, fullgraph=True, backend=lambda graph, _: found.append(graph) or graph.forward
        )

    monkeypatch.setattr(nn.Module, "compile", compile_counted)
    words = tiny("compile=true", "data.train=14", "data.val=7", "trainer.max_epochs=3")
    module, data, trainer = built(composed("train", words, tmp_path))
    with torch._dynamo.config.patch(recompile_limit=64):  # of the checker of annotations, which all parts share
        trainer.fit(module, data)
    net = module.net
    assert graphs.keys() == {net.backbone, net.decoder, *net.attention.values()}
    # Training, validation, and validation of the last 3 images, by a graph of any number of them.
    assert [len(found) for found in graphs.values()] == 3 * [3]


def test_compiled_parts_are_kept_with_the_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTPOINT_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    prepare_compiler()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    prepare_compiler()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"


def test_a_missing_compiler_is_named(tmp_path: Path) -> None:
    none = torch._inductor.config.patch({"cpp.cxx": (str(tmp_path / "none"),)})
    message = r"compile=true needs a C\+\+ compiler, and none is found: install g\+\+"
    with none, pytest.raises(ValueError, match=message):
        built(composed("train", tiny("compile=true"), tmp_path))


def test_the_earlier_key_is_named() -> None:
    assert advice("module.compile") == "module.compile is now compile; rename it"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compile=reduce-overhaed"], "compile='reduce-overhaed': did you mean 'reduce-overhead'"),
        (["compile=reduce-overhead"], "compile=reduce-overhead records CUDA graphs, for which there is no CUDA device"),
    ],
)
def test_a_mode_that_cannot_be_used_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(composed("train", tiny(*words), tmp_path))


def test_a_mode_is_that_of_backbone_and_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: dict[str, Any] = {}
    monkeypatch.setattr(nn.Module, "compile", lambda part, **settings: modes.update({type(part).__name__: settings}))
    built(composed("train", tiny("compile=max-autotune-no-cudagraphs"), tmp_path))
    mode = {"mode": "max-autotune-no-cudagraphs"}
    assert modes == {"Small": mode, "FusionDecoder": mode, "DynamicSpatialAttention": {}}


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("unchecked")
def test_graphs_of_a_gpu_train_as_eager_steps_do(tmp_path: Path) -> None:
    plain = ["optimizer=sgd", "scheduler=constant", "~callbacks.ema", "trainer.accelerator=gpu", "trainer.max_epochs=2"]
    weights = []
    for value in ("false", "reduce-overhead"):
        module, data, trainer = built(composed("train", tiny(*plain, f"compile={value}"), tmp_path / value))
        start = torch.cat([p.detach().flatten() for p in module.net.parameters()])
        trainer.fit(module, data)
        weights.append(torch.cat([p.detach().cpu().flatten() for p in module.net.parameters()]) - start)
    assert (weights[1] - weights[0]).norm() < 0.02 * weights[0].norm() > 0

"""Backbones return what they advertise, and start from local files that fit, or say why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import mobilenet_v3_small, resnet18

import softpoint.cli.command_line  # noqa: F401 - registers how configs name files
from softpoint.models import Small, Timm, Torchvision

CONFIGS = {
    path.stem: path
    for path in sorted((Path(__file__).parents[2] / "configs/backbone").glob("*.yaml"))
    if path.stem != "auto" and "timm" not in path.stem
}


def check_features(net: nn.Module, height: int = 64, width: int = 96) -> None:
    """Forward gives one map per advertised stage, of the advertised channels and stride."""
    with torch.no_grad():
        features = net.eval()(torch.rand(1, 3, height, width))
    assert isinstance(features, list)
    expected = [(1, c, height // s, width // s) for c, s in zip(net.out_channels, net.stride, strict=True)]
    assert [tuple(x.shape) for x in features] == expected
    assert net.stride == tuple(2**stage for stage in net.stages)
    assert len(net.mean) == len(net.std) == 3


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shipped_backbone_returns_what_it_advertises(name: str):
    net = instantiate(OmegaConf.load(CONFIGS[name]))
    assert net.stages == (2, 3, 4, 5)
    check_features(net)


@pytest.mark.parametrize("stages", [(2,), (5,), (2, 4), (3, 4, 5)])
@pytest.mark.parametrize(
    "make", [lambda stages: Small(8, stages=stages), lambda stages: Torchvision("resnet18", stages)]
)
def test_stages_are_chosen_and_deeper_ones_left_out(make, stages: tuple[int, ...]):
    net = make(stages)
    assert net.stages == stages
    # An image of one cell at the deepest stage is enough only if nothing deeper runs.
    check_features(net, 2 ** stages[-1], 2 ** stages[-1] * 3)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny"])
def test_features_do_not_depend_on_which_others_are_returned(name: str):
    whole = Torchvision(name).eval()
    part = Torchvision(name, stages=(3,)).eval()
    state = whole.state_dict()
    part.load_state_dict({key: state[key] for key in part.state_dict()})
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(part(x)[0], whole(x)[1])


@pytest.mark.parametrize("depth", [1, 3])
def test_depth_counts_the_residual_blocks_of_a_stage(depth: int):
    assert [len(stage) for stage in Small(8, depth).body] == [depth] * 4


@pytest.mark.parametrize("stages", [(), (3, 2), (2, 2), (0, 2), (5, 6)])
def test_stages_that_are_not_there_are_quoted(stages: tuple[int, ...]):
    for make in (Small, lambda stages: Torchvision("resnet18", stages)):
        with pytest.raises(ValueError, match="ascend within .*" + re.escape(f"2, 3, 4, 5, got {list(stages)}")):
            make(stages=stages)


def test_weights_survive_a_file(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    net = Small(8).eval()
    save_file(net.state_dict(), path)
    other = Small(8, weights=path).eval()
    x = torch.rand(1, 3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(net(x), other(x), strict=True))
    assert other.started_from == {"weights": "weights.safetensors", "license": None} and net.started_from is None


def test_a_classifiers_file_fits_a_backbone_of_some_of_its_stages(tmp_path: Path):
    x = torch.rand(1, 3, 64, 64)
    for make, features in ((mobilenet_v3_small, lambda net: net.features(x)), (resnet18, None)):
        whole = make().eval()
        save_file(whole.state_dict(), tmp_path / "whole.safetensors")
        net = Torchvision(make.__name__, weights=tmp_path / "whole.safetensors").eval()
        with torch.no_grad():
            last = features(whole) if features else nn.Sequential(*list(whole.children())[:-2])(x)
            assert torch.equal(net(x)[-1], last)
        Torchvision(make.__name__, stages=(2, 3), weights=tmp_path / "whole.safetensors")


def test_a_file_that_does_not_fit_is_listed_by_kind(tmp_path: Path):
    state = Small(8).state_dict()
    missing, shaped = "body.0.0.conv1.0.weight", "stem.0.0.weight"
    del state[missing]
    state[shaped] = torch.zeros(4, 3, 5, 5)
    state["head.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError) as error:
        Small(8, weights=tmp_path / "w.safetensors")
    message = str(error.value)
    assert "w.safetensors does not fit Small" in message
    assert f"1 missing: {missing}" in message
    assert "1 unexpected: head_weight" in message or "1 unexpected: head.weight" in message
    assert f"1 of another shape: {shaped} (4, 3, 5, 5) for (4, 3, 3, 3)" in message


def test_a_long_list_is_cut(tmp_path: Path):
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"missing: stem.* and \d+ more"):
        Small(8, weights=tmp_path / "w.safetensors")


def test_counters_of_batch_norm_may_be_missing(tmp_path: Path):
    state = {key: value for key, value in Small(8).state_dict().items() if "num_batches" not in key}
    save_file(state, tmp_path / "w.safetensors")
    Small(8, weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize(("name", "nearest"), [("resnet81", "resnet18"), ("convnxt_tiny", "convnext_tiny")])
def test_an_unknown_network_is_answered_by_the_nearest(name: str, nearest: str):
    with pytest.raises(ValueError, match=f"no model '{name}'; did you mean '{nearest}'"):
        Torchvision(name)


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1", "vit_b_32", "swin_t"])
def test_a_network_whose_cells_lie_on_no_grid_is_refused(name: str):
    with pytest.raises(ValueError, match=f"{name} has no stages of stride"):
        Torchvision(name)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "hrnet_w18_small"])
def test_a_timm_pyramid_returns_what_it_advertises(name: str):
    net = Timm(name)
    assert net.stages == (2, 3, 4, 5)
    check_features(net)


@pytest.mark.parametrize(
    ("name", "stages"), [("vit_tiny_patch16_224", (4,)), ("swin_tiny_patch4_window7_224", (2, 3, 4, 5))]
)
def test_a_timm_transformer_returns_what_it_advertises(name: str, stages: tuple[int, ...]):
    net = Timm(name)
    assert net.stages == stages and net.only_size is None
    check_features(net)  # another size than that of its training


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "vit_tiny_patch16_224", "convnext_atto"])
def test_timm_starts_from_the_file_of_the_whole_network(tmp_path: Path, name: str):
    whole = timm.create_model(name).eval()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    net = Timm(name, weights=tmp_path / "w.safetensors").eval()
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = whole.forward_intermediates(x, norm=False, intermediates_only=True)[-1]
        torch.testing.assert_close(net(x)[-1], expected)


def test_timm_reads_a_published_file(data_root: Path):
    path = data_root / "weights/tf_efficientnet_lite0.safetensors"
    if not path.is_file():
        pytest.skip(f"no file at {path}")
    net = Timm("tf_efficientnet_lite0", weights=path).eval()
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    absent, unexpected = whole.load_state_dict(load_file(path), strict=False)
    assert set(absent) <= {"classifier.weight", "classifier.bias"} and not unexpected
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[-1], whole.blocks(whole.bn1(whole.conv_stem(x))))
    known = Timm("tf_efficientnet_lite0", stages=(3,), pretrained=True, folder=path.parent).started_from
    assert known == {"weights": "timm tf_efficientnet_lite0.in1k", "license": "apache-2.0"}


def test_a_network_of_one_size_names_it():
    net = Timm("mixer_s32_224")
    assert net.only_size == (224, 224)
    check_features(net, 224, 224)
    with pytest.raises(
        ValueError, match=r"takes images of 224 x 224 alone, not 64 x 96; set data.size=\[224,224\], or"
    ):
        net(torch.rand(1, 3, 64, 96))


@pytest.mark.parametrize("name", ["crossvit_9_240", "vit_small_patch14_dinov2"])
def test_a_timm_network_without_stages_is_refused(name: str):
    with pytest.raises(
        ValueError, match=rf"backbone.name: {name} has no stages of stride 2\^k; choose another, such as c"
    ):
        Timm(name)


def test_an_unknown_timm_network_or_stage_is_answered():
    with pytest.raises(ValueError, match="no model 'resnet81'; did you mean"):
        Timm("resnet81")
    with pytest.raises(ValueError, match=r"no model 'zzzzqqqq'; timm.list_models\(\) lists them"):
        Timm("zzzzqqqq")
    with pytest.raises(ValueError, match=r"stages must ascend within 1, .*, 5, got \[2, 9\]"):
        Timm("resnet18", stages=(2, 9))


def test_weights_come_from_the_folder_before_any_download(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    name = "tf_efficientnet_lite0"
    save_file(timm.create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
    for pretrained in (True, None):
        net = Timm(name, stages=(2,), pretrained=pretrained, folder=tmp_path)
        stored = load_file(tmp_path / f"{name}.safetensors")
        assert torch.equal(net.body.state_dict()["conv_stem.weight"], stored["conv_stem.weight"])
    assert not caplog.records


def test_a_failed_download_is_an_error_or_where_it_was_optional_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    create = timm.create_model

    def without_network(*args, pretrained: bool = False, **kwargs):
        if pretrained:
            raise ConnectionError("no route")
        return create(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", without_network)
    said = "could not download the weights of resnet18 .ConnectionError.; softpoint weights list .* as resnet18.safet"
    with pytest.raises(OSError, match=f"{said}ensors, in here, or start without: backbone.pretrained=false"):
        Timm("resnet18", stages=(2,), pretrained=True, folder="here")
    assert Timm("resnet18", stages=(2,), pretrained=None).started_from is None
    assert re.search(said, caplog.text) and "starts from random weights" in caplog.text

"""What a training shows is read back from its event files, and its numbers are computed again."""

from __future__ import annotations

import pickle
import posixpath
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.api_pb2 import ListSessionGroupsRequest, Status
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler as ListSessionGroups
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from helpers.training import composed, drawn, tiny
from softpoint.evaluation import Results
from softpoint.functional import gaussian_axis
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import DynamicSpatialAttention
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead
from softpoint.training.calibrate import Calibrate, confidence_fraction
from softpoint.training.dashboard import Dashboard, Monitor, images, scalars
from softpoint.training.dashboard.graph import show_graph
from softpoint.training.dashboard.images import attention_sheet, curves, heatmaps_sheet, points_sheet
from softpoint.training.dashboard.layout import custom_layout, write_settings
from softpoint.training.dashboard.loggers import SpelledMLFlowLogger, mlflow_logger, wandb_logger
from softpoint.training.dashboard.samples import Validation, choose_images
from softpoint.training.dashboard.scalars import BestEpoch, temperatures
from softpoint.training.dashboard.writers import event_files, forget_from, writers
from softpoint.types import AttentionMaps

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")
EPOCHS, STEPS = 2, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of which every epoch is drawn, also after it was stopped and resumed."""
    from softpoint.cli.train import main

    folder = tmp_path_factory.mktemp("run")
    words = ["data.train=16", "data.size=32", "callbacks.dashboard.every_n_epochs=1", "callbacks.dashboard.share=1"]
    words += ["callbacks.dashboard.images=2", "callbacks.dashboard.worst=1", "data.val=5"]
    words += ["head.learnable_temperature=true", "attention.learnable_temperature=true", "~callbacks.calibrate"]
    main(composed("train", drawn(tiny(*words, "trainer.max_epochs=1")), folder))
    last = f"resume={folder / 'checkpoints' / 'last.ckpt'}"
    main(composed("train", drawn(tiny(*words, f"trainer.max_epochs={EPOCHS}", last)), folder))
    return folder


@pytest.fixture(scope="module")
def events(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "tensors": 0, "histograms": 0})
    return accumulator.Reload()


def values(events: EventAccumulator, tag: str) -> list[float]:
    return [event.value for event in events.Scalars(tag)]


def test_curves_go_on_where_a_run_was_resumed(events: EventAccumulator) -> None:
    ends = [(epoch + 1) * STEPS - 1 for epoch in range(EPOCHS)]
    for tag in ("val/epe", "val/loss", "val_epe/kite_nose", "best/epe"):
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == ends or (tag == "best/epe" and set(steps) <= {*ends}), tag
    for tag in ("train/loss", "train/epe", "lr-AdamW/backbone", "speed/images_per_s", "weights/gradient_norm"):
        assert [event.step for event in events.Scalars(tag)] == [*range(EPOCHS * STEPS)], tag


def test_each_split_has_its_metrics(events: EventAccumulator) -> None:
    metrics = {f"{split}/{name}" for split in ("train", "val", "test") for name in ("loss", "epe", "pck@0.1", "nme")}
    assert metrics <= {*events.Tags()["scalars"]}


def test_the_terms_of_a_loss_add_up(events: EventAccumulator) -> None:
    for split in ("train", "val"):
        total = np.array(values(events, f"{split}/heatmap_ce")) + 0.03 * np.array(
            values(events, f"{split}/coordinate_l1")
        )
        np.testing.assert_allclose(values(events, f"{split}/loss"), total, rtol=1e-4)


def test_errors_by_keypoint_have_the_mean_of_all(events: EventAccumulator) -> None:
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("val_epe/")]
    assert len(tags) == 10  # every one is labeled in every synthetic scene
    np.testing.assert_allclose(np.mean([values(events, tag) for tag in tags], 0), values(events, "val/epe"), rtol=1e-4)
    text = events.Tensors("val/by_keypoint/text_summary")[-1].tensor_proto.string_val[0].decode()
    rows = dict(re.findall(r"^\| (\w\S*) \| 5 \| ([\d.]+) \|", text.replace("\\_", "_"), flags=re.MULTILINE))
    assert rows == {tag.split("/")[1]: f"{values(events, tag)[-1]:.2f}" for tag in tags}


def test_the_best_epoch_is_that_of_the_checkpoint(run: Path, events: EventAccumulator) -> None:
    assert values(events, "best/epe")[-1] == min(values(events, "val/epe"))
    stored = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert values(events, "best/epoch")[-1] == stored["epoch"]


def test_the_table_of_runs_has_the_settings_and_the_metrics_of_validation_and_test(
    run: Path, events: EventAccumulator
) -> None:
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(run)).Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(run))))
    request = ListSessionGroupsRequest(slice_size=9, allowed_statuses=Status.values())
    (row,) = ListSessionGroups(RequestContext(), context, "", request).run().session_groups  # of a run that was resumed
    shown = {
        name: value.WhichOneof("kind") and (value.string_value or value.number_value)
        for name, value in row.hparams.items()
    }
    assert shown.items() >= {"backbone": "small", "data.train": 16, "head.learnable_temperature": "True"}.items()
    assert {"optimizer.lr", "callbacks.calibrate"} <= {*shown} and "callbacks.dashboard.share" not in shown
    numbers = {value.name.tag: value.value for value in row.metric_values}
    assert [*sorted(numbers)][:5] == ["best/epe", "best/epe_test", "best/epoch", "best/nme", "best/pck@0.1"]
    assert numbers["best/epe_test"] == pytest.approx(values(events, "test/epe")[-1], rel=1e-6)
    assert numbers["best/epe"] == min(values(events, "val/epe"))


def test_temperatures_are_those_of_the_checkpoint(run: Path, events: EventAccumulator) -> None:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["current_model_state"]
    learned = nn.functional.softplus(state["net.head.raw_temperature"]).flatten()
    assert values(events, "temperature/head/triangle_tip")[-1] == pytest.approx(float(learned[0]), rel=1e-5)
    learned = nn.functional.softplus(state["net.attention.head.t_raw"])
    assert values(events, "temperature/attention.head")[-1] == pytest.approx(float(learned), rel=1e-4)


def test_every_epoch_has_its_images(events: EventAccumulator) -> None:
    drawn = {tag: events.Images(tag) for tag in events.Tags()["images"]}
    kinds = ("predictions", "worst", "heatmaps", "attention", "pck_curve", "reliability")
    assert {tag: len(shown) for tag, shown in drawn.items() if tag.startswith("val/")} == {
        f"val/{kind}": EPOCHS for kind in kinds
    }
    assert {tag for tag in drawn if tag.startswith("test/")} == {"test/pck_curve", "test/reliability"}
    for shown in drawn.values():
        pixels = cv2.imdecode(np.frombuffer(shown[-1].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.shape == (shown[-1].height, shown[-1].width, 3)
    weights = {tag: events.Histograms(tag) for tag in events.Tags()["histograms"]}
    assert {*weights} == {"router/head/3 x 3", "router/head/7 x 7", "router/head/7 x 7, dilation 2"}
    assert all(len(shown) == EPOCHS for shown in weights.values())
    last = [shown[-1].histogram_value for shown in weights.values()]
    assert [values.num for values in last] == [5, 5, 5]
    assert sum(values.sum for values in last) == pytest.approx(5)  # the weights of an image add up to 1


@pytest.mark.usefixtures("unchecked")
def test_the_graph_shows_the_parts_of_the_network(tmp_path: Path) -> None:
    decoder = partial(FusionDecoder, channels=4, stride=4)
    net = KeypointNet(1, Small(width=4, stages=(2,)), decoder, SoftArgmaxHead, DynamicSpatialAttention)
    with SummaryWriter(str(tmp_path)) as board:
        show_graph(board, net, (16, 24))
    nodes = EventAccumulator(str(tmp_path)).Reload().Graph().node
    boxes = {node.name.split("/")[1] for node in nodes if node.name.startswith("KeypointNet/")}
    assert {"FusionDecoder[decoder]", "DynamicSpatialAttention[head]", "SoftArgmaxHead[head]"} <= boxes


def test_the_custom_charts_show_curves_of_the_run(events: EventAccumulator) -> None:
    config = events.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0]
    scalars, charts = events.Tags()["scalars"], 0
    for category in Layout.FromString(config).category:
        for chart in category.chart:
            assert any(re.match(tag, name) for tag in chart.multiline.tag for name in scalars), chart.title
            charts += 1
    assert charts > 10


@pytest.mark.parametrize("names", [["nose"], [f"p({i})" for i in range(200)]])
def test_each_keypoint_is_in_one_chart_alone(names: list[str]) -> None:
    charts = custom_layout(names, ["heatmap_ce"])["EPE of each keypoint"].values()
    tags = [f"val_epe/{name}" for name in names]
    found = [tag for _, patterns in charts for tag in tags for pattern in patterns if re.match(pattern, tag)]
    assert found == tags
    assert all(len(patterns) <= 10 for _, patterns in charts)


def test_the_table_of_runs_shows_first_what_differs(tmp_path: Path) -> None:
    for name, rate in (("a", 0.1), ("b", 0.2)):
        with SummaryWriter(str(tmp_path / name)) as board:
            write_settings(board, {"backbone": "small", "optimizer.lr": rate})
            board.add_scalar("best/epe", rate, 0)
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path))))
    request = RequestContext()
    table = context.experiment_from_metadata(
        request, "", True, context.hparams_metadata(request, ""), context.hparams_from_data_provider(request, "", 0)
    )
    assert [(info.name, info.differs) for info in table.hparam_infos] == [("optimizer.lr", True), ("backbone", False)]
    assert [info.name.tag for info in table.metric_infos] == ["best/epe"]


def test_images_are_shared_out_over_groups() -> None:
    groups = ["a"] * 10 + ["b"] * 2 + ["c"]
    chosen = choose_images(groups, range(13), 6)
    assert [groups[i] for i in chosen] == ["a", "a", "a", "b", "b", "c"]
    assert chosen[:3] == [0, 4, 9]
    assert choose_images(groups, range(13), 99) == [*range(13)]
    assert {groups[i] for i in choose_images(groups, range(13), 2)} == {"a", "c"}
    assert choose_images(groups, [], 4) == []
    assert all(i % 2 == 0 for i in choose_images(groups, range(0, 13, 2), 5))  # of one process of two


def batch_of(K: int, B: int, labeled: bool) -> tuple[Any, Any]:
    points = torch.rand(B, K, 2) * 31
    rows, columns = (gaussian_axis(points[..., i] / 4, 1.0, 8) for i in (1, 0))
    logits = 10 * rows[..., :, None] * columns[..., None, :]
    prediction = {"logits": logits, "keypoints": points, "confidence": torch.rand(B, K)}
    prediction["covariance"] = torch.eye(2).expand(B, K, 2, 2)
    prediction["attention"] = {"head": [torch.rand(B, 1, 8, 8), torch.full((B, 3), 1 / 3)]}
    batch = {"image": torch.randint(0, 255, (B, 3, 32, 32), dtype=torch.uint8), "index": torch.arange(B)}
    batch |= {"keypoints": points + 1, "visibility": torch.full((B, K), 2 * labeled), "group": ["a"] * B}
    batch |= {"matrix": torch.eye(3).expand(B, 3, 3), "scale": torch.full((B,), 20.0)}
    return prediction, batch | {"size": torch.full((B, 2), 32)}


@pytest.mark.parametrize(("K", "B", "labeled"), [(1, 1, True), (200, 2, True), (3, 2, False)])
def test_any_number_of_keypoints_and_labels_is_drawn(K: int, B: int, labeled: bool) -> None:
    skeleton, validation = Skeleton(tuple(f"point {k}" for k in range(K))), Validation(None, [0], 2)
    validation.add(*batch_of(K, B, labeled), {})
    sample = validation.fixed[0]
    for sheet in (points_sheet([sample], skeleton), heatmaps_sheet(sample, skeleton), attention_sheet([sample], 32)):
        assert sheet.ndim == 3 and max(sheet.shape) < 3000 and sheet.std() > 0
    assert {*curves(validation.results(skeleton), 0.05)} == ({"pck_curve", "reliability"} if labeled else set())
    assert len(validation.worst) == (B if labeled else 0)


def test_predictions_that_are_not_finite_are_drawn_too() -> None:
    skeleton, validation = Skeleton(("nose", "tail")), Validation(None, [0], 2)
    prediction, batch = batch_of(2, 2, True)
    prediction |= {name: torch.full_like(prediction[name], torch.nan) for name in ("keypoints", "covariance", "logits")}
    nan = AttentionMaps(np.full((8, 8), np.nan), np.full((1, 8, 8), np.nan), np.full(1, np.nan), ("3 x 3",))
    prediction["attention"] = {"head": [torch.full((2, 1, 8, 8), torch.nan), torch.full((2, 1), torch.nan)]}
    validation.add(prediction, batch, {"head": [nan, nan]})
    points_sheet([validation.fixed[0]], skeleton), heatmaps_sheet(validation.fixed[0], skeleton)
    attention_sheet([validation.fixed[0]], 32)
    assert validation.router_weights() == {}
    assert curves(validation.results(skeleton), 0.05) == {}


def test_heatmaps_and_attention_are_kept_for_the_images_of_which_they_are_drawn() -> None:
    validation, (prediction, batch) = Validation(None, [5, 1, 2, 3, 4], 3), batch_of(2, 6, True)
    validation.add(prediction, batch, {})
    assert [i for i, shown in validation.fixed.items() if shown.heatmaps is not None] == [1]
    assert [i for i, shown in validation.fixed.items() if shown.attention] == [1, 2, 3, 4]
    assert all(shown.heatmaps is None and not shown.attention for _, shown in validation.worst)
    needed: list[bool] = [validation.needs_attention(taken(batch, [i])) for i in (0, 4, 5)]
    assert needed == [False, True, False]


def test_reliability_is_about_the_fraction_of_the_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    used, figure = list[float](), images.reliability_figure

    def kept(results: Results, fraction: float) -> Any:
        used.append(fraction)
        return figure(results, fraction)

    monkeypatch.setattr(images, "reliability_figure", kept)
    validation = Validation(None, [0], 2)
    validation.add(*batch_of(2, 2, True), {})
    curves(validation.results(Skeleton(("nose", "tail"))), 0.2)
    assert used == [0.2]
    assert confidence_fraction(SimpleNamespace(callbacks=[Calibrate(0.2, 9)])) == 0.2


def test_the_time_of_collecting_attention_counts() -> None:
    board, blocks = Dashboard(1, 2, 1, 0.5, False), nn.ModuleDict({"head": DynamicSpatialAttention()})
    board._validation = Validation(None, [0], 1)
    module = SimpleNamespace(net=SimpleNamespace(attention=blocks))
    board.on_validation_batch_start(None, module, {"index": torch.tensor([0])})
    assert board.spent == 0
    blocks["head"](torch.zeros(1, 4, 8, 8))
    assert board.spent > 0 and {*board._maps} == {"head"}
    board._hooks.close()


def test_the_worst_images_are_those_of_the_largest_errors() -> None:
    prediction, batch = batch_of(2, 6, True)
    batch["keypoints"] = prediction["keypoints"] + torch.tensor([3.0, 9, 1, 7, 2, 5])[:, None, None]
    validation = Validation(None, [], 3)
    for start in (0, 2, 4):  # in three batches
        part = {name: value[start : start + 2] for name, value in batch.items()}
        guess = {name: value[start : start + 2] for name, value in prediction.items() if name != "attention"}
        validation.add(guess, part, {})
    assert [sample.title for _, sample in validation.worst] == [
        f"image {i}: {error * 2**0.5:.1f} px" for i, error in ((1, 9), (3, 7), (5, 5))
    ]


def test_shares_of_processes_are_joined_to_the_validation_of_one() -> None:
    prediction, batch = batch_of(2, 5, True)
    batch["keypoints"] = prediction["keypoints"] + torch.tensor([3.0, 9, 1, 7, 2])[:, None, None]
    one, shares = Validation(None, [0, 3], 2), [Validation(None, [0, 3], 2) for _ in range(2)]
    one.add(prediction, batch, {})
    for first, share in enumerate(shares):
        rows = [*range(first, 5, 2)] + [0] * first  # the first image again, without labels, fills up the second share
        part, guess = taken(batch, rows), taken(prediction, rows)
        part["visibility"] = part["visibility"] * torch.tensor([[2 * (i or not first)] for i in rows])
        share.add(guess, part, {})
    joined = pickle.loads(pickle.dumps(shares[0]))
    joined.join(shares[1:])
    skeleton = Skeleton(("nose", "tail"))
    np.testing.assert_array_equal(joined.results(skeleton).errors, one.results(skeleton).errors)
    for name, weights in one.router_weights().items():
        assert len(joined.router_weights()[name]) == len(weights) == 5
    for (error, shown), (expected, same) in zip(joined.worst, one.worst, strict=True):
        assert error == expected and shown.title == same.title
    assert {i: shown.title for i, shown in joined.fixed.items()} == {i: shown.title for i, shown in one.fixed.items()}


def taken(values: Any, rows: list[int]) -> Any:
    """The samples of these rows of a batch or a prediction, or of a part of them."""
    if isinstance(values, dict):
        return {name: taken(part, rows) for name, part in values.items()}
    if isinstance(values, list) and isinstance(values[0], torch.Tensor):  # the maps of an attention block
        return [taken(part, rows) for part in values]
    return [values[i] for i in rows] if isinstance(values, list) else values[rows]


def test_wide_ellipses_do_not_hide_an_image() -> None:
    skeleton, (prediction, batch) = Skeleton(("nose",)), batch_of(1, 2, True)
    batch["image"][:], prediction["keypoints"][:] = 0, 16.0
    drawn = {}
    for deviation in (1e-3, 3.9, 4.1):  # of an image of 32 pixels
        validation = Validation(None, [0], 1)
        prediction["covariance"] = deviation**2 * torch.eye(2).expand(2, 1, 2, 2)
        validation.add(prediction, batch, {})
        drawn[deviation] = points_sheet([validation.fixed[0]], skeleton)
    assert (drawn[3.9] != drawn[1e-3]).sum() > 5_000
    assert (drawn[4.1] == drawn[1e-3]).mean() > 0.999


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    first, other = (SimpleNamespace(is_global_zero=zero, loggers=[logger]) for zero in (True, False))
    assert len(writers(first)) == len(event_files(first)) == 1
    assert writers(other) == event_files(other) == []


class Calls:
    """Records every call of every method."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *words, **named: self.made.append((name, *words, *named.items()))


class FakeWandb(WandbLogger):
    """The calls that reach W&B's run."""

    def __init__(self) -> None:
        self._experiment, self._prefix, self._wandb_init = Calls(), "", {}  # type: ignore[assignment]

    @property
    def experiment(self) -> Any:
        return self._experiment


class FakeMLFlow(MLFlowLogger):
    """The calls that reach MLflow's client."""

    run_id = "7"

    def __init__(self) -> None:
        self.calls = Calls()

    @property
    def experiment(self) -> Any:
        return self.calls


def test_wandb_and_mlflow_get_images_by_their_own_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"Image": lambda image: ("image", image.shape), "Histogram": lambda v: ("histogram", len(v))}
    kinds["Table"] = lambda **named: (named["columns"], named["data"])
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(**kinds))
    wandb, mlflow = FakeWandb(), FakeMLFlow()
    for writer in writers(SimpleNamespace(is_global_zero=True, loggers=[wandb, mlflow])):
        writer.image("val/worst", image := np.zeros((2, 3, 3), np.uint8), 5)
        writer.table("val/by_keypoint", ["keypoint", "epe (px)"], [["left_ear", "1.50"], ["tail", "-"]], 5)
        writer.histogram("router/head/branch 0", np.ones(4), 5)
    step = {"trainer/global_step": 5}
    assert wandb._experiment.made == [
        ("log", {"val/worst": [("image", (2, 3, 3))], **step}),
        ("log", {"val/by_keypoint": (["keypoint", "epe (px)"], [["left_ear", 1.5], ["tail", None]]), **step}),
        ("log", {"router/head/branch 0": ("histogram", 4), **step}),
    ]
    markdown = "| keypoint | epe (px) |\n|---|---:|\n| left\\_ear | 1.50 |\n| tail | - |"
    assert mlflow.calls.made == [
        ("log_image", "7", image, ("key", "val/worst"), ("step", 5)),
        ("log_text", "7", markdown, "val/by_keypoint/000005.md"),
    ]


def test_mlflow_gets_a_metric_of_every_keypoint_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(MLFlowLogger, "log_metrics", lambda _, metrics, step: sent.append((metrics, step)))
    names = ["val_epe/左目", "val_epe/右目", "val_epe/a//b", "val_epe/..", "val_epe/left ear.1"]
    SpelledMLFlowLogger.log_metrics(object.__new__(SpelledMLFlowLogger), dict.fromkeys(names, 1.0), 3)
    ((metrics, step),) = sent
    assert len(metrics) == len(names) and step == 3 and "val_epe/left ear.1" in metrics
    for name in metrics:  # Lightning and MLflow take it as it is
        assert re.fullmatch("[a-zA-Z0-9_/. -]+", name) and posixpath.normpath(name) == name


@pytest.mark.parametrize(
    ("library", "make"),
    [
        ("wandb", lambda: wandb_logger("folder", "project", True)),
        ("mlflow", lambda: mlflow_logger("folder", "name", None)),
    ],
)
def test_a_logger_without_its_library_names_the_extra(library: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf'logger={library} needs {library}: pip install "softpoint\[{library}\]"'):
        make()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The time in seconds that callbacks see."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(scalars.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(scalars.time, "monotonic", lambda: clock.now)
    return clock


def test_speed_and_waiting_leave_validations_out(clock: Any) -> None:
    logged: list[dict[str, float]] = []
    logger = SimpleNamespace(log_metrics=lambda values, step: logged.append({**values, "step": step}))
    trainer = SimpleNamespace(loggers=[logger], log_every_n_steps=4, global_step=0, world_size=2, callbacks=[])
    trainer.accumulate_grad_batches = 2
    net = nn.Linear(2, 1, bias=False)
    module: Any = SimpleNamespace(net=net, skeleton=Skeleton(("nose",)), parameters=net.parameters)
    net.weight.grad = torch.tensor([[3.0, 4.0]])
    monitor = Monitor()
    monitor.on_train_start(trainer, module)
    batch = {"image": torch.zeros(6, 3, 1, 1)}
    for i in range(8):
        clock.now += 1  # waiting
        monitor.on_train_batch_start(trainer, module, batch, i)
        clock.now += 3  # training
        if i % 2:
            monitor.on_before_optimizer_step(trainer, module, None)
            trainer.global_step += 1
        monitor.on_train_batch_end(trainer, module, None, batch, i)
        clock.now += 100  # validating
        monitor.on_validation_end(trainer, module)
    expected = {"speed/images_per_s": 2 * 6 / 4, "speed/waiting": 0.25, "weights/gradient_norm": 5.0, "step": 3}
    assert logged == [expected]


def test_drawing_keeps_to_its_share_of_the_time(clock: Any) -> None:
    dashboard = Dashboard(every_n_epochs=2, images=1, worst=1, share=0.1, graph=False)
    trainer = SimpleNamespace(current_epoch=0, max_epochs=9, should_stop=False, is_global_zero=True, loggers=[])
    dashboard.on_fit_start(SimpleNamespace(is_global_zero=False, datamodule=None), None)
    drawn = []
    for trainer.current_epoch in range(9):
        clock.now += 10
        if dashboard._is_due(trainer):
            drawn.append(trainer.current_epoch)
            dashboard.spent += 4
    assert drawn == [0, 4, 8]  # at epoch 2 drawing would have taken 4 of 30 s
    trainer.current_epoch, trainer.should_stop = 5, True
    assert dashboard._is_due(trainer)  # the last validation of a run that its minutes end


@pytest.mark.parametrize(("mode", "kept"), [("min", [0, 2]), ("max", [0, 1])])
def test_the_best_epoch_follows_the_monitor_and_is_remembered(mode: str, kept: list[int]) -> None:
    checkpoint, best, found = ModelCheckpoint(monitor="val/nme", mode=mode), BestEpoch(), []
    for epoch, value in enumerate([3.0, 4.0, 1.0, float("nan"), 3.0]):
        metrics = {"val/nme": torch.tensor(value), "train/loss": torch.tensor(1.0)}
        trainer = SimpleNamespace(callback_metrics=metrics, checkpoint_callbacks=[checkpoint], current_epoch=epoch)
        if values := best.update(trainer):
            assert values == {"best/nme": value, "best/epoch": epoch}
            found.append(epoch)
    assert found == kept
    assert {"best": best.value} == {"best": 1.0 if mode == "min" else 4.0}


def test_only_learned_temperatures_are_shown() -> None:
    assert temperatures(nn.ModuleDict({"head": nn.Linear(1, 1)}), Skeleton(("nose",))) == {}


def test_steps_that_are_made_again_replace_the_old_ones(tmp_path: Path) -> None:
    for value, steps in ((0.0, range(6)), (1.0, range(3, 5))):
        with SummaryWriter(str(tmp_path), filename_suffix=f".{value}") as board:
            if value:
                forget_from(board, steps[0])
            for step in steps:
                board.add_scalar("loss", value, step)
    read = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in read] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]


@pytest.mark.parametrize(
    ("key", "value"), [("images", 0), ("worst", 2.5), ("every_n_epochs", -1), ("share", 0.0), ("share", 1.5)]
)
def test_settings_out_of_range_are_refused(key: str, value: float) -> None:
    settings: dict[str, Any] = {"every_n_epochs": 5, "images": 8, "worst": 8, "share": 0.02, "graph": False}
    with pytest.raises(ValueError, match=rf"callbacks.dashboard.{key}={value}: give a"):
        Dashboard(**settings | {key: value})

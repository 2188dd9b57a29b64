"""The benchmarks compare pipelines that do the same work, and print their tables."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from helpers.data import labeled_data
from helpers.results import example_results
from helpers.training import ROOT, write_labels
from softpoint.data.augment import Augment
from softpoint.images.decode import read_image
from softpoint.labels.formats import read_labels
from softpoint.studies.timing import rates_in_turns, relative_times

FOLDER = ROOT / "benchmarks"
TINY = ("--rounds=1", "--calls=1", "backbone.width=8", "decoder.channels=8", "data.batch_size=4")


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the scripts import each other as when they are started, time a call once, and forgets them afterwards."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr("measure.TURN", 0.0)
    yield
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def start(name: str, *arguments: str) -> None:
    threads = torch.get_num_threads()
    import_module(name).main(arguments)
    torch.set_num_threads(threads)


def table(name: str, *overrides: str, **arguments: Any) -> Any:
    options = import_module("measure").Options(rounds=1, overrides=(*TINY[2:], *overrides))
    return import_module(name).rows(options, **arguments)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return import_module("dataloader").draw_images(tmp_path / "drawn", ".png", (50, 70), 3)


def test_work_is_done_in_turns() -> None:
    done: list[tuple[str, int]] = []
    work: dict[str, Callable[[int], Any]] = {name: lambda i, name=name: done.append((name, i)) for name in "ab"}
    rates = rates_in_turns(work, rounds=2, calls=2)
    assert done == [(name, i) for turn in range(3) for name in "ab" for i in (2 * turn, 2 * turn + 1)]
    assert {name: len(values) for name, values in rates.items()} == {"a": 2, "b": 2}  # the first round warms up


def test_relative_times_are_multiples_of_the_first() -> None:
    times = relative_times({"one": lambda i: sum(range(2000)), "other": lambda i: None}, rounds=3, calls=50)
    assert times["one"] == 1.0 and 0 < times["other"] < 1


def test_spread_is_median_and_ends() -> None:
    assert import_module("report").spread([3.0, 1.0, 8.0]) == ("3", "1 to 8")


def test_decoders_give_the_same_pixels(paths: list[Path]) -> None:
    for name, decode in import_module("augmentation_baselines").decoders(paths).items():
        pixels = decode(4)
        pixels = pixels.permute(1, 2, 0).numpy() if isinstance(pixels, torch.Tensor) else pixels
        assert np.array_equal(pixels, read_image(paths[1])), name


@pytest.mark.parametrize("size", [96, 48, 16])  # enlarged, shrunk, shrunk by more than two
def test_plain_opencv_does_the_same_work(paths: list[Path], size: int) -> None:
    images = [read_image(path) for path in paths]
    augment = Augment(rotate=20, scale=(0.9, 1.1), translate=0.1, brightness=0.3, contrast=0.3, blur=1.0)
    points = np.array([[10.0, 20.0], [60.5, 3.0]])
    work = import_module("augmentation_baselines").augmenters(images, points, size, augment)
    for i in range(6):
        sample, (plain, moved) = work["softpoint"](i), work["plain OpenCV"](i)
        assert sample["keypoints"].numpy() == pytest.approx(moved, abs=1e-3)
        assert np.median(np.abs(sample["image"].numpy().astype(int) - plain)) <= 2


def test_every_pipeline_makes_an_input(paths: list[Path]) -> None:
    images, points = [read_image(path) for path in paths], np.array([[10.0, 20.0], [30.0, 30.0]])
    work = import_module("augmentation_baselines").augmenters(
        images, points, 32, Augment(rotate=10, brightness=0.2, contrast=0.2, blur=1.0, noise=0.05)
    )
    assert work["softpoint"](0)["image"].shape == (32, 32, 3)
    assert work["torchvision"](0)[0].shape == (3, 32, 32) and work["torchvision"](0)[1].shape == (2, 2)
    assert work["albumentations"](0)["image"].shape == (32, 32, 3)
    with pytest.raises(ValueError, match=r"no other pipeline here has augment.hue; benchmark augment=light"):
        import_module("augmentation_baselines").augmenters(images, points, 32, Augment(hue=0.1))


def test_data_is_timed_by_stage_and_by_what_training_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("dataloader"), "KINDS", [(".jpg", 50, 60)])
    rows = table("dataloader", "data.size=32", count=2, trained=8)
    assert {row.work.split()[0] for row in rows} == {"decode", "augment", "collate", "training"}
    assert {row.by for row in rows} >= {"softpoint", "plain OpenCV", "albumentations", "torchvision", "a ready batch"}
    assert {row.size.split(",")[0] for row in rows if row.work == "training"} == {
        "data.cache=none", "data.cache=ram", "data.cache=disk", "data.device_cache=true"
    }  # fmt: skip


def test_images_of_the_user_are_timed(paths: list[Path]) -> None:
    rows = table("dataloader", "data.size=32", f"data.images={paths[0].parent}")
    assert {row.work for row in rows} == {"decode own images", "augment own images", "collate own images"}


def test_label_files_splits_and_scans_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    start("labels", "--rounds=1", "--megabytes=0.05", "--rows=8", "--images=20", "--scanned=2")
    out = capsys.readouterr().out
    for name in ("pycocotools", "softpoint", "DeepLabCut", "five folds", "scan of 2"):
        assert name in out, name


def test_label_errors_of_every_kind_are_planted_in_as_many_images_and_found_in_a_list() -> None:
    labels, module = import_module("labels").random_labels(50), import_module("planted")
    wrong, planted = module.plant(labels, 4, np.random.default_rng(0))
    assert len({one.row for one in planted}) == 32 and {one.kind for one in planted} == {*module.KINDS}
    changed = ~np.isclose(labels.keypoints, wrong.keypoints, equal_nan=True).all(-1)
    places = {one.row: set(one.keypoints) for one in planted}
    assert [{*np.flatnonzero(row)} for row in changed] == [places.get(row, set()) for row in range(50)]
    for one in planted:
        moved = np.linalg.norm(wrong.keypoints[one.row] - labels.keypoints[one.row], axis=-1)[list(one.keypoints)]
        size = np.linalg.norm(np.ptp(labels.keypoints[one.row][np.isfinite(labels.keypoints[one.row][:, 0])], axis=0))
        if one.kind == "shifted 5 to 8 %":
            assert 0.05 * size - 1e-6 <= moved.item() <= 0.08 * size + 1e-6
    listed = [(planted[1].row, planted[1].keypoints), (99, (0,)), (planted[0].row, planted[0].keypoints)]
    assert import_module("suggestions").first_ranks(planted[:3], listed) == [2, 0, np.inf]


@pytest.mark.filterwarnings("ignore")
def test_the_dashboard_is_timed_beside_its_training(capsys: pytest.CaptureFixture[str]) -> None:
    start("dashboard", *TINY, "data.size=32", "data.val=4")
    out = capsys.readouterr().out
    for name in ("step", "curves", "validation", "drawing", "% of the CPU time"):
        assert name in out, name


def test_networks_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(import_module("networks").SIDES, "quick", (32, 64))
    start("run", "train", "rounds=1", f"output={tmp_path}", *TINY[2:])
    assert "cbam_spatial" in (out := capsys.readouterr().out) and "training step, batch of 4" in out
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["command"].startswith("python benchmarks/run.py train threads=1") and "torch" in content["hardware"]
    assert len(content["rows"]) == 10 and all(row["cpu"][0] > 0 for row in content["rows"])
    assert (tmp_path / "plot.png").exists() and content["command"] in (tmp_path / "results.md").read_text()


def test_attention_is_compared_with_the_same_mathematics() -> None:
    rows = table("attention", shapes=((2, 8, 12, 10),))
    assert {row.by for row in rows} == {"softpoint", "plain PyTorch"} and len(rows) == 8
    for row in rows:
        assert "forward" in row.work or max(row.more["error of values"], row.more["error of gradients"]) < 1e-5, row


def test_a_video_is_timed_beside_its_decoding_and_its_network() -> None:
    pytest.importorskip("av", reason='needs the extra: pip install "softpoint[video]"')
    rows = table("predictions", "data.size=32", sizes=((40, 56),), frames=8)
    assert [row.by for row in rows] == ["predict_video", "decoding alone", "network alone"]
    assert rows[0].items == 8 and rows[0].more["share outside decoding and network"] < 1
    assert import_module("predictions").outside([2.0, 4.0], [0.5, 1.0], [1.0, 2.0]) == 0.25


@pytest.mark.usefixtures("unchecked")
def test_exports_are_timed_beside_torch() -> None:
    pytest.importorskip("onnxscript", reason='needs the extra: pip install "softpoint[export]"')
    words = ("model=baseline", "backbone.stages=[2,3]", "head=regression", "data.size=32")
    rows = table("exports", *words, image=(40, 50), precisions=["int8"])
    assert [(row.work, row.size, row.by) for row in rows] == [
        ("predict 50x40", "32x32", by) for by in ("torch", "onnxruntime, int8")
    ]


@pytest.mark.usefixtures("unchecked")
def test_found_subjects_are_timed_beside_one_in_a_given_box() -> None:
    pytest.importorskip("onnxscript", reason='needs the extra: pip install "softpoint[export]"')
    words = ("model=baseline", "backbone.stages=[2,3]", "head=regression")
    rows = table("several", *words, image=(120, 160), find=(64, 96), read=(32, 32), counts=(0, 2))
    labels = ["one subject in a given box", "none found", "2 found (goal 1.5 + 0.6 x 1 = 2.1)"]
    works = ["find and read, load_predictor", "find and read, onnxruntime"]
    assert [(row.work, row.by) for row in rows] == [(work, by) for work in works for by in labels]


def test_a_command_is_measured_in_a_process_of_its_own() -> None:
    output, cpu, wall, peak = import_module("startup").run(
        ["-c", "a = bytes(1 << 28) + b'1'; print(a[-1]); sum(range(10**7))"]
    )
    assert output == "49\n" and 0 < cpu < 60 and wall > 0 and 1 << 28 < peak < 1 << 30
    with pytest.raises(ValueError, match="ended with 3: no"):
        import_module("startup").run(["-c", "import sys; print('no'); sys.exit(3)"])


def test_options_of_a_benchmark_are_checked() -> None:
    options = import_module("measure").Options
    assert options.of(["threads=2", "loss.a=b"]).overrides == ("loss.a=b",)
    for word, message in {
        "threads=0": "threads must be a number of at least 1, got 0",
        "sizes=ful": "sizes=ful is unknown; did you mean 'full'",
    }.items():
        with pytest.raises(ValueError, match=message):
            options.of([word])
    with pytest.raises(ValueError, match="'op' is no kind of benchmark; did you mean 'ops'"):
        import_module("run").main(["op"])


def test_ratios_compare_each_round_with_the_first_of_the_same_size() -> None:
    measure = import_module("measure")
    rows = [measure.Row("w", size, 1, by, [t, 2 * t], [9, 9]) for size in "st" for by, t in (("a", 1), ("b", 3))]
    assert [values for _, values in measure.ratios(rows, "cpu")] == [[1, 1], [3, 3]] * 2
    assert "| b | 3 (3 to 3) | 3 (3 to 3) |" in measure.tables(rows, "cpu")


def test_bytes_that_live_at_one_time_are_counted() -> None:
    def work() -> torch.Tensor:
        first = torch.zeros(1000) + 1  # two of 4000 bytes
        del first
        return torch.zeros(500)

    assert 8000 <= import_module("measure").extra_bytes(work, "cpu") < 8100  # and scalars


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_operations_of_all_libraries_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kornia", "dsntnn"):
        pytest.importorskip(name, reason='needs the extra: pip install "softpoint[bench]"')
    ops, options = import_module("ops"), import_module("measure").Options(rounds=1)
    monkeypatch.setattr(ops, "step_rows", lambda options: [])
    rows = ops.rows(options, ((2, 3, 12, 16),), (8,))
    assert {row.by for row in rows} >= {"softpoint", "kornia", "dsntnn", "plain PyTorch"}
    for row in rows:
        if not row.swept and "reverse" not in row.by and "error of values" in row.more:
            assert max(row.more["error of values"], row.more["error of gradients"]) < 1e-4, row


def test_equal_values_of_two_runs_have_the_same_bits() -> None:
    same, nan, zero = import_module("run_differences").same, torch.tensor([float("nan"), 1.0]), torch.tensor(0.0)
    assert same(nan, nan.clone()) and same(zero, zero.clone()) and same(float("nan"), float("nan")) and same("a", "a")
    assert not same(nan, torch.tensor([9e9, 1.0])) and not same(zero, -zero) and not same(0.0, -0.0)
    assert not same(torch.tensor([float("inf")]), torch.tensor([torch.finfo(torch.float32).max]))
    assert not same(1, 1.0) and not same(zero, torch.zeros(1)) and not same(zero, zero.double())


def test_values_that_a_resumed_run_logs_twice_are_all_compared(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    differences = import_module("run_differences")
    for run, values in {"whole": [(0, 1.0), (1, 2.0)], "other": [(0, 1.0), (1, 3.0), (1, 2.0)]}.items():
        with SummaryWriter(tmp_path / run / "tensorboard") as writer:
            for step, value in values:
                writer.add_scalar("loss", value, step)
    whole, other = (differences.curves(tmp_path / run) for run in ("whole", "other"))
    assert differences._differing_curves(whole, whole) == [] and differences._differing_curves(whole, other) == ["loss"]


def test_a_difference_that_is_not_a_number_is_the_largest() -> None:
    largest = import_module("ranks").largest
    assert largest([0.1, 0.3, 0.2]) == 0.3 and np.isnan(largest([0.1, float("nan"), 0.2]))


def test_of_a_checkpoint_only_places_and_the_clock_are_not_compared() -> None:
    node = {"callbacks": {"C": {"dirpath": "a", "best_k_models": {"/a/b.ckpt": 1.0}, "wait": 2}}, "paths": ["x"]}
    node |= {"hyper_parameters": {"save_dir": "a", "data": {"image_path": "y"}}, "record": {"minutes": 1, "seed": 3}}
    compared = dict(import_module("run_differences").leaves(node))
    assert compared == {
        "/callbacks/C/wait": 2, "/paths/0": "x", "/hyper_parameters/data/image_path": "y", "/record/seed": 3
    }  # fmt: skip


def _grow(path: Path) -> None:
    assert np.ones(200 << 17).all()  # 200 MiB


def _outside(path: Path) -> Path:
    return path.parents[5]


# What a reader does in spite of its promise, and what the trials of damaged inputs call it.
PLANTED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda path: None, "read"),
    "a refusal": (lambda path: int("a"), "refused"),
    "an error without a message": (lambda path: next(iter({}.__getitem__(0))), "foreign error"),
    "a crash": (lambda path: os.kill(os.getpid(), signal.SIGSEGV), "crash SIGSEGV"),
    "memory": (_grow, "too expensive"),
    "memory that is limited": (_grow, "refused"),
    "a file of C": (lambda path: cv2.imwrite(str(path.parent / "a.png"), np.zeros((2, 2))), "outside"),
    "a file of C above": (lambda path: cv2.imwrite(str(_outside(path) / "a.png"), np.zeros((2, 2))), "outside"),
    "its own file": (lambda path: path.write_bytes(b"other"), "outside"),
    "a link": (lambda path: (path.parent / "link").symlink_to("/absent"), "outside"),
    "a folder": (lambda path: (path.parent / "folder").mkdir(), "outside"),
    "a file elsewhere": (lambda path: open(os.devnull, "wb").close(), "outside"),  # noqa: PTH123
    "a file that is removed": (
        lambda path: [(_outside(path) / "a").write_bytes(b"a"), (_outside(path) / "a").unlink()],
        "outside",
    ),
    "a program": (lambda path: subprocess.run(["true"], check=True), "outside"),
    "a process": (lambda path: os.fork() or os._exit(0), "outside"),
    "a pickle": (lambda path: pickle.loads(pickle.dumps(Path)), "outside"),
    "a secret": (lambda path: cv2.imread(str(_outside(path) / "secret")), "outside"),
    "a connection": (lambda path: socket.socket().connect(("127.0.0.1", 9)), "outside"),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured by the /proc of Linux")
def test_each_fault_of_a_reader_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, target = import_module("mutations"), import_module("mutation_target").Target
    (tmp_path / "secret").touch()
    monkeypatch.setattr(import_module("mutation_work"), "MIB", 100)

    def cases(number: int) -> Any:
        name, (act, _) = list(PLANTED.items())[number]
        # What takes too much is read again in a process that limits it, where there is one.
        limited = (lambda path, out: int("a")) if name == "memory that is limited" else None
        return target(name, [b""], lambda path, out: [(out / "made").mkdir(), act(path)], limited=limited), b""

    seen = {one["name"]: one["kind"] for one in module.outcomes(cases, len(PLANTED), tmp_path)}
    assert {name: kind for name, (_, kind) in PLANTED.items()} == {
        name: "outside" if "outside" in kind else kind for name, kind in seen.items()
    }


def test_a_process_that_reports_nothing_for_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("mutations")
    monkeypatch.setattr(module, "SECONDS", 0.01)
    mine, theirs = os.pipe()
    with subprocess.Popen(["sleep", "60"], pass_fds=[theirs]) as child, os.fdopen(mine, "rb", buffering=0) as pipe:
        os.write(theirs, b'{"number": 1}\n')
        os.close(theirs)
        assert list(module.lines(pipe, child.pid)) == [{"number": 1}]
        assert child.wait(10) == -signal.SIGKILL


def test_an_input_that_takes_long_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = import_module("mutation_work")
    monkeypatch.setattr(work, "SECONDS", 0.0)
    assert work.attempt(lambda path, out: None, tmp_path, tmp_path)["kind"] == "too expensive"


def test_memory_of_a_server_is_that_of_its_processes_too() -> None:
    hostile = import_module("hostile")
    peak = hostile.Peak(os.getpid())
    peak.look()
    before, code = peak.mib, "x = b'1' * (200 << 20); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        peak.look()
        process.kill()
    assert peak.mib >= before + 200 > hostile.peak_mib(os.getpid())


def test_regions_and_thresholds_are_measured_on_units_that_did_not_fit_them() -> None:
    coverage = import_module("coverage")
    results = example_results(600, spread=1.0)
    images = [f"{i}.png" for i in range(600)]
    results = replace(results, images=images, groups=images, covariance=np.tile(4.0 * np.eye(2), (600, 4, 1, 1)))
    options = SimpleNamespace(splits=20, error=0.05, rate=0.2)
    name, units, ellipses, unsure, sure, regions, worst, joint, *_ = coverage.row("example", results, options)
    assert name == "example" and units == "600 images"
    assert (
        all(0.85 < float(value) < 0.95 for value in (regions, worst, joint))
        and max(map(float, (ellipses, unsure, sure))) < 0.85
    )
    fit = np.arange(600) < 8
    assert all(share == 1 for share in coverage.covered(np.ones((600, 4)), np.arange(600), fit)[1:])  # none is bounded


def test_a_rendered_part_is_where_its_corners_are() -> None:
    subpixel, rng = import_module("subpixel"), np.random.default_rng(0)
    for _ in range(5):
        image, corners = subpixel.render(rng)
        bright = image[..., 0] > (int(image.max()) + int(image.min())) / 2
        center = np.argwhere(bright).mean(0)[::-1]
        np.testing.assert_allclose(center, corners.mean(0), atol=0.25)  # the light changes along y
        np.testing.assert_allclose(bright.sum(), cv2.contourArea(corners.astype(np.float32)), rtol=0.03)


STEPS = "1.0 2.14\n" + "".join(f"{100 + 2 * step} {50 + 3 * step}\n" for step in range(1, 13))


def test_a_trainer_is_timed_from_one_validation_to_the_next() -> None:
    result = import_module("trainers").Result("softpoint baseline")
    result.add(STEPS, begin=90.0, window=9, batch=8, memory=2**30)
    assert (result.versions, result.images, result.wall, result.cpu) == ("1.0 2.14", 72, [18.0], [27.0])
    assert (result.start, result.start_cpu, result.memory) == ([12.0], [53.0], [2**30])


def test_a_trainer_that_cannot_be_measured_is_a_row_with_the_reason() -> None:
    trainers = import_module("trainers")
    results = [trainers.Result("softpoint baseline"), trainers.Result("other", failed="not installed: no wheel")]
    results[0].add(STEPS, begin=90.0, window=9, batch=8, memory=2**30)
    *_, first, second = trainers.table(results).splitlines()
    assert first.startswith("| softpoint baseline | 2.67 (2.67 to 2.67) | 1 (1 to 1) | 4 (4 to 4) | 12 (12 to 12)")
    assert second.startswith("| other | not installed: no wheel |")
    assert trainers.plot(results).axes[0].get_yticks().tolist() == [0]


def test_threads_and_loading_processes_are_a_row_of_median_and_ends() -> None:
    result = import_module("trainers").Result("softpoint", images=144)
    result.wall, result.cpu, result.start, result.memory = [12.0, 9.0, 8.0], [18.0] * 3, [4.0] * 3, [2**30] * 3
    cells = import_module("threads").row(2, 1, result)
    assert cells == ["2", "1", "16 (12 to 18)", "8 (8 to 8)", "4 (4 to 4)", "1 (1 to 1)"]


def test_labels_of_trainers_are_those_of_the_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, rows = tmp_path / "images", ["scorer,a,a", "bodyparts,nose,nose", "coords,x,y"]
    images.mkdir()
    for name in "abc":
        cv2.imwrite(str(images / f"{name}.png"), np.zeros((20, 30, 3), np.uint8))
        rows.append(f"{name}.png,5,6")
    (images / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "splits.csv").write_text("image,split\na.png,train\nb.png,val\nc.png,test\n")
    source = SimpleNamespace(labels=str(images / "labels.csv"), splits=str(tmp_path / "splits.csv"), images=None)
    trainers = import_module("trainers")
    monkeypatch.setattr(trainers, "composed", lambda _: SimpleNamespace(data=source))
    made = trainers.write_labels("data=any", tmp_path / "labels")
    assert made == {"images": str(images), "labels": str(tmp_path / "labels"), "images_of_a_pass": 1}
    for part, name in (("train", "a.png"), ("val", "b.png")):
        content = json.loads((tmp_path / "labels" / f"{part}.json").read_text())
        assert [image["file_name"] for image in content["images"]] == [name]
        assert len(content["annotations"]) == 1


def test_no_folder_that_is_not_an_environment_is_installed_into(tmp_path: Path) -> None:
    environments = import_module("environments")
    (tmp_path / "torch").mkdir()
    with pytest.raises(ValueError, match="torch is no environment"):
        environments.environment(tmp_path, environments.Requirements("any", "1.0"))


def test_cpu_time_counts_processes_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER / "peers")
    steps = import_module("steps")
    before = steps.cpu_seconds()
    work = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert steps.cpu_seconds() - before > 0.25  # while it lives
        process.communicate(b"\n")
    assert steps.cpu_seconds() - before > 0.25  # and when it has ended


def test_composites_are_a_set_to_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = write_labels(tmp_path / "single", count=24)
    sizes = ["--train", "6", "--test", "3", "--subjects", "2", "3"]
    start("composites", str(tmp_path / "set"), *overrides, "data.test=0.3", "data.val=0", *sizes)
    assert "train: 6 images" in capsys.readouterr().out
    labels = tmp_path / "set" / "labels.json"
    data = labeled_data(labels, mode="multi", splits=tmp_path / "set" / "splits.csv")
    counts = {name: [len(of.describe_scene(i).boxes) for i in range(len(of))] for name, of in data.scenes.items()}
    assert len(counts["train"] + counts["val"]) == 6 and len(counts["test"]) == 3
    assert max(counts["train"]) > 1 and max(counts["train"] + counts["test"]) <= 3
    assert (tmp_path / "set" / "sheet.png").is_file()


def test_half_of_the_dolls_are_labeled(tmp_path: Path) -> None:
    start("half_labeled", str(tmp_path), "--train", "20", "--test", "2")
    full, half, test = (read_labels(tmp_path / f"{name}.json") for name in ("full", "half", "test"))
    assert 0.35 * full.count < half.count < 0.65 * full.count and len(set(test.paths)) == 2
    assert {*half.boxes[~half.blank].flat} <= {*full.boxes.flat} and half.blank.sum() == full.blank.sum() > 0

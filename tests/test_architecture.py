"""The house is built as drawn: imports run one way, asserted from the source itself."""

from __future__ import annotations

import ast
import builtins
import dis
import doctest
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import CodeType

import pytest

import softpoint
from softpoint import functional

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/softpoint"


def modules(folder: Path, beside: Path) -> dict[str, Path]:
    """Each file by its module's name."""
    return {
        str(path.relative_to(beside).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
        for path in sorted(folder.rglob("*.py"))
    }


SOURCES = modules(PACKAGE, PACKAGE)
SCRIPTS = modules(ROOT / "scripts", ROOT)
ROOMS = (
    "audit", "cli", "colors", "data", "datasets", "demo", "evaluation", "explorer", "export_formats", "extras",
    "functional", "images", "inference", "kernels", "labels", "layers", "machine", "memory", "metrics", "models",
    "paths", "progress", "renamed_keys", "report", "runtime", "selection", "serving", "signals", "studies",
    "suggest", "tables", "tracking", "training", "types", "viz", "watchdog",
)  # fmt: skip


@cache
def imported(path: Path) -> set[str]:
    """The full name of every module that a file imports anywhere, those within functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("softpoint.")} & {*ROOMS}


def libraries(path: Path) -> set[str]:
    outside = {name.split(".")[0] for name in imported(path)} - {"softpoint"}
    return outside - {*sys.stdlib_module_names}


def inside(room: str) -> list[str]:
    return [name for name in SOURCES if name == room or name.startswith(f"{room}.")]


# Which rooms each room may open, itself aside. Signposts to a misspelled name serve everybody.
ALLOWED = {
    "colors": set(),
    "export_formats": {"suggest"},
    "extras": set(),
    "machine": set(),
    "memory": set(),
    "paths": set(),
    "progress": set(),
    "renamed_keys": set(),
    "signals": set(),
    "runtime": set(),
    "suggest": set(),
    "tables": set(),
    "tracking": set(),
    "types": set(),
    "functional": {"kernels"},
    "kernels": {"paths"},
    "layers": {"functional", "suggest"},
    "models": {"functional", "layers", "suggest"},
    "metrics": {"functional"},
    "watchdog": set(),
    "images": {"paths", "progress", "suggest", "watchdog"},
    "labels": {"extras", "images", "paths", "progress", "runtime", "suggest"},
    "data": {"functional", "images", "labels", "machine", "memory", "paths", "suggest"},
    "audit": {"functional", "images", "labels", "paths", "progress", "suggest", "tables", "viz"},
    "datasets": {"images", "labels", "paths", "progress", "suggest"},
    "viz": {"colors", "functional", "data", "labels", "paths", "suggest"},
    "demo": {"functional", "layers", "suggest", "tables", "viz"},
    "training": {
        "data", "evaluation", "extras", "functional", "images", "inference", "labels", "layers", "machine", "metrics",
        "models", "paths", "progress", "signals", "suggest", "tables", "viz",
    },
    "inference": {
        "data", "export_formats", "extras", "functional", "images", "labels", "layers", "memory", "metrics", "models",
        "paths", "renamed_keys", "runtime", "signals",  # signals end a stream, which has no end of its own
        "suggest", "tracking", "viz",
    },
    "evaluation": {
        "colors", "data", "extras", "functional", "images", "inference", "labels", "machine", "metrics", "models",
        "paths", "suggest", "tables", "viz",
    },
    "studies": {
        "data", "evaluation", "images", "inference", "labels", "machine", "metrics", "paths", "suggest", "tables",
        "training", "viz",
    },
    "explorer": {
        "audit", "colors", "data", "demo", "functional", "images", "inference", "labels", "layers", "models", "paths",
        "suggest", "viz",
    },
    "report": {"colors", "evaluation", "inference", "metrics", "paths", "progress", "viz"},
    "selection": {
        "evaluation", "functional", "images", "inference", "labels", "layers", "metrics", "paths", "tables", "viz",
    },
    "serving": {"colors", "extras", "images", "paths", "runtime", "suggest"},
    "cli": {*ROOMS},
}  # fmt: skip


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str):
    for name in inside(room):
        assert rooms(SOURCES[name]) <= ALLOWED[room] | {room, "types"}, name


def test_every_module_is_in_a_known_room():
    assert {name.split(".")[0] for name in SOURCES} == {*ROOMS, "__init__", "__main__"}


def test_functional_needs_torch_alone():
    for name in inside("functional"):
        assert libraries(SOURCES[name]) <= {"torch", "jaxtyping"}, name


def users(library: str) -> set[str]:
    return {name for name, path in (SOURCES | SCRIPTS).items() if library in libraries(path)}


def allowed_users(*places: str) -> set[str]:
    return {name for name in SOURCES | SCRIPTS if any(f"{name}.".startswith(f"{place}.") for place in places)}


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("pytorch_lightning", ("training", "data.datamodule", "cli")),
        ("lightning", ()),
        ("hydra", ("cli",)),
        ("albumentations", ("data.pixel_transforms",)),
        (
            "matplotlib",
            (
                *(
                    "viz.figures",
                    "studies.charts",
                    "studies.sweeps",
                    "evaluation.plots",
                    "evaluation.reliability_plots",
                    "evaluation.subjects.plots",
                ),
                *("report.figures", "demo"),
            ),
        ),
        ("jinja2", ("report.pages",)),
        ("timm", ("models.backbones.timm",)),
        ("litdata", ("data.shards",)),
        ("pooch", ("datasets.download",)),
        ("requests", ("datasets.download",)),
        ("sleap_io", ("labels.formats.sleap", "inference.batch.writers.slp")),
        ("h5py", ("labels.formats", "images.packages", "inference.batch.writers.dlc")),
        ("av", ("images.ffmpeg",)),
        ("pycocotools", ("evaluation.oks",)),
        ("motmetrics", ("evaluation.identities",)),
        ("wandb", ("training.dashboard",)),
        ("tensorboard", ("training.dashboard",)),
        ("fastapi", ("serving", "explorer.app")),
        ("gradio", ("explorer",)),
        ("starlette", ("serving.app",)),
        ("uvicorn", ("serving.server", "serving.connections")),
        ("prometheus_client", ("serving.app",)),
        ("onnx", ("inference.export",)),
        ("onnxscript", ("inference.export",)),
        ("onnxruntime", ("inference.export", "runtime")),
        ("openvino", ("inference.export",)),
        ("litert_torch", ("inference.export",)),
        ("ai_edge_litert", ("inference.export",)),
        ("executorch", ("inference.export",)),
        (
            "huggingface_hub",
            ("inference.hub", "inference.model_card", "inference.pretrained", "models.backbones.timm"),
        ),
        ("torchvision", ("models", "inference.export.subjects")),
    ],
)
def test_a_library_stays_in_its_room(library: str, places: tuple[str, ...]):
    assert users(library) <= allowed_users(*places)


def test_every_loader_is_watched():
    # Others name torch's loader as a type only.
    made = [name for name, path in SOURCES.items() if re.search(r"\bDataLoader(\[\w+\])?\(", path.read_text())]
    extended = [name for name, path in SOURCES.items() if re.search(r"class \w+\(DataLoader\b", path.read_text())]
    assert (made, extended) == ([], ["data.watched_loader"])


def test_nothing_is_called_utils():
    names = [part for name in SOURCES | SCRIPTS for part in name.split(".")]
    assert not [name for name in names if "util" in name or "helper" in name]


def test_importing_the_package_loads_nothing():
    code = (
        "import sys, softpoint; assert softpoint.__version__; dir(softpoint);"
        "print([m for m in ('torch', 'numpy', 'pytorch_lightning', 'hydra', 'cv2') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


PUBLIC = [
    "spatial_softmax", "axis_softmax", "spatial_expectation", "spatial_covariance", "soft_argmax", "entropy",
    "information_content", "render_gaussians", "spatial_softmax_with_loss", "DynamicSpatialAttention",
    "SpatialSoftArgmax", "SpatialSoftmax", "KeypointNet", "load_predictor", "save_pretrained", "push_to_hub",
]  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_imports_from_the_package(name: str):
    thing = getattr(softpoint, name)
    assert thing.__name__ == name and thing.__module__.startswith("softpoint.")
    assert name in softpoint.__all__ and name in dir(softpoint)


def test_an_absent_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'softpoint' has no attribute 'soft_argmin'"):
        _ = softpoint.soft_argmin


@pytest.mark.parametrize("name", functional.__all__)
def test_a_function_is_described_and_shown(name: str):
    function = getattr(functional, name)
    assert function.__doc__ and function.__doc__.splitlines()[0].strip()
    assert doctest.DocTestParser().get_examples(inspect.getdoc(function) or ""), "no example"


@pytest.mark.parametrize("name", [*inside("functional"), *inside("layers"), *inside("models")])
def test_a_public_definition_has_a_docstring(name: str):
    tree = ast.parse(SOURCES[name].read_text())
    assert ast.get_docstring(tree)
    definitions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert not [d.name for d in definitions if not d.name.startswith("_") and not ast.get_docstring(d)]


def test_the_shapes_of_every_module_are_checked(pytestconfig: pytest.Config) -> None:
    *checked, _ = pytestconfig.getoption("--jaxtyping-packages").split(",")
    shaped = {f"softpoint.{name}" for name, path in SOURCES.items() if "jaxtyping" in libraries(path)}
    shaped.remove("softpoint.types")  # names of shapes, and no function
    assert {name for name in shaped if not any(f"{name}.".startswith(f"{part}.") for part in checked)} == set()


def names_of(code: CodeType) -> tuple[set[str], set[str]]:
    """The names that code, that of its functions included, reads from its module, and those that it sets there."""
    reads, sets = set(), set()
    for operation in dis.get_instructions(code):
        if operation.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            reads.add(operation.argval)
        elif operation.opname in ("STORE_GLOBAL", "STORE_NAME"):
            sets.add(operation.argval)
    for part in code.co_consts:
        if isinstance(part, CodeType):
            for names, more in zip((reads, sets), names_of(part), strict=True):
                names |= more
    return reads, sets


@pytest.mark.parametrize("folder", ["src", "benchmarks"])
def test_every_name_is_defined(folder: str) -> None:
    """Names of axes in annotations are defined nowhere, so that neither ruff nor mypy looks for undefined names."""
    for path in (ROOT / folder).rglob("*.py"):
        reads, sets = names_of(compile(path.read_text(), str(path), "exec"))
        undefined = reads - sets - {*dir(builtins), "__file__", "__path__", "__name__", "__annotations__"}
        assert not undefined, (path, undefined)

"""The wheel holds everything that its commands need, and the project declares everything that it imports."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from helpers.training import CONFIGS, ROOT
from softpoint import __version__
from softpoint.cli import COMMANDS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a built wheel's files."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "files")
    return folder / "files"


def softpoint(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command of the package in `folder`, started from a directory that has no configs."""
    code = "import sys; from softpoint.cli import main; main(); assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-P", "-c", code, *words]
    return subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True, timeout=60)


def test_a_wheel_holds_the_configs_and_a_command_runs_from_it(wheel: Path) -> None:
    shipped = {str(path.relative_to(wheel / "softpoint/configs")) for path in (wheel / "softpoint").rglob("*.yaml")}
    assert shipped == {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml")}
    assert (wheel / "softpoint/py.typed").is_file()
    splits = {path.name for path in (ROOT / "data/splits").iterdir()}
    assert {path.name for path in (wheel / "softpoint/data/splits").iterdir()} == splits
    modules = {path.relative_to(wheel) for path in wheel.rglob("*.py")}
    assert modules == {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*.py")}
    assert (
        len(list((wheel / "softpoint/report").glob("*.jinja"))) == 5
        and (wheel / "softpoint/report/report.css").is_file()
    )
    (metadata,) = wheel.glob("*.dist-info")
    assert metadata.name == f"softpoint-{__version__}.dist-info"
    assert "softpoint = softpoint.cli:main" in (metadata / "entry_points.txt").read_text()
    done = softpoint(wheel, "train", "model=dsa", "--cfg", "job")
    assert done.returncode == 0 and "_target_: softpoint.training.KeypointModule" in done.stdout, done.stderr


def test_the_runtime_is_a_package_of_its_own_of_one_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT / "runtime", capture_output=True, check=True)
    with zipfile.ZipFile(tmp_path / f"softpoint_runtime-{__version__}-py3-none-any.whl") as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert names == ["softpoint_runtime.py"]
        assert archive.read(*names) == (ROOT / "src/softpoint/runtime.py").read_bytes()


def test_help_lists_every_command_without_torch() -> None:
    done = softpoint(ROOT / "src", "--help")
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.partition("Commands\n\n")[2].splitlines()} == {*COMMANDS}
    assert softpoint(ROOT / "src", "--version").stdout == f"softpoint {__version__}\n"


def test_an_unknown_command_names_the_nearest() -> None:
    done = softpoint(ROOT / "src", "trian")
    assert done.returncode == 1 and done.stderr == "error: softpoint has no command 'trian'; did you mean 'train'?\n"


def test_every_script_is_a_command() -> None:
    scripts = {path.name: path.read_text() for path in (ROOT / "scripts").glob("*.py")}
    started = {re.search(r'main\("(\w+)"\)', text)[1] for text in scripts.values()}  # type: ignore[index]
    assert started == {*COMMANDS}
    assert all(len(text.splitlines()) == 3 for text in scripts.values())


def test_a_config_folder_of_the_user_adds_options(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer/mine.yaml").write_text("_target_: torch.optim.Adagrad\n_partial_: true\nlr: 0.5\n")
    folder = ("--config-dir", str(tmp_path))
    done = softpoint(ROOT / "src", "train", *folder, "optimizer=mine", "--cfg", "job", "seed=1")
    assert done.returncode == 0 and "torch.optim.Adagrad" in done.stdout, done.stderr
    done = softpoint(ROOT / "src", "train", "optimizer=mien", *folder)
    assert "optimizer has no option 'mien'; did you mean 'mine'? (options: adam, adamw, mine, sgd)" in done.stderr
    done = softpoint(ROOT / "src", "train", "optimizer=mine", "optimizer.lrr=1", *folder)
    assert done.stderr == "error: unknown key 'optimizer.lrr'; did you mean 'optimizer.lr'?\n"
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/old.yaml").write_text("# @package _global_\ndata: {resident: true}\n")
    done = softpoint(ROOT / "src", "train", "experiment=old", *folder)
    assert done.stderr == "error: data.resident is now data.device_cache; rename it\n"


def test_every_import_is_declared() -> None:
    requirements = [*PROJECT["dependencies"]]
    for extra, names in PROJECT["optional-dependencies"].items():
        requirements += names if extra not in ("dev", "docs") else []
    declared = {_normalized(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}  # type: ignore[index]
    owners = packages_distributions()
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
            )
            for name in {name.split(".")[0] for name in names} - {"softpoint", "", *sys.stdlib_module_names}:
                assert {_normalized(owner) for owner in owners.get(name, [name])} & declared, f"{path}: {name}"


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_hashes_are_of_the_constrained_versions_and_name_no_address() -> None:
    text = (ROOT / "constraints-hashes.txt").read_text(encoding="utf-8")
    versions = set(re.findall(r"^([A-Za-z0-9._-]+==\S+)", text, re.MULTILINE))
    constrained = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    expected = {re.sub(r"^[^=]+", lambda name: re.sub("[-_.]+", "-", name[0]).lower(), line) for line in constrained}
    assert versions == {line for line in expected if "==" in line}, "write them by: make hashes"
    assert "://" not in text and not re.search(r"^[^ ]+ *$", text, re.MULTILINE)

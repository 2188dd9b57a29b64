"""The reference of options is complete, the notebook runs without errors, and what documents name is there."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from helpers.training import CONFIGS, ROOT

BASES = (ROOT, ROOT / "src", ROOT / "src/softpoint")
NOTEBOOK = ROOT / "examples" / "your_first_model.ipynb"


def module(path: Path) -> ModuleType:
    """Import a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    """Return the values of nested dictionaries by their dotted paths."""
    if not isinstance(node, dict) or not node:
        return {path: node}
    return {k: v for key, value in node.items() for k, v in leaves(value, f"{path}.{key}".lstrip(".")).items()}


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name not in ("fetch", "hydra", "weights")],
    ids=lambda path: str(path.relative_to(CONFIGS)),
)
def test_the_reference_has_every_key_of_a_file(path: Path) -> None:
    pytest.importorskip("mkdocs")
    options = module(ROOT / "docs" / "hooks.py").options
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    content = {key: value for key, value in content.items() if key not in ("defaults", "hydra", "datamodule")}
    repeated = {key for key, value in leaves(content).items() if isinstance(value, str) and value.startswith("${")}
    keys = {key for key in leaves(content) if key and not key.endswith("_partial_")} - repeated
    listed = {option.key: option for option in options(path.read_text(encoding="utf-8"), "")}
    assert not [key for key in keys if not any(f"{key}.".startswith(f"{option}.") for option in listed)]
    assert not [option for option in listed.values() if " # " in option.value]


def test_the_committed_notebook_is_executed_small_and_without_errors() -> None:
    assert NOTEBOOK.stat().st_size < 400_000
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells)
    text = json.dumps([cell["outputs"] for cell in cells])
    assert '"output_type": "error"' not in text and "error: " not in text and "Traceback" not in text
    for cell in cells:
        source = "".join(cell["source"])
        if not source.startswith("!"):
            ast.parse(source)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*is not empty")
def test_the_cells_of_the_notebook_run(start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("IPython")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        source = re.sub("=(1024|256)", "=16", "".join(cell["source"]).replace("epochs=5", "epochs=1, must_work=False"))
        if source.startswith("!softpoint "):
            ending = start(*shlex.split(source.replace("\\\n", ""))[1:])
            assert ending.code == 0, ending.err
        elif cell["cell_type"] == "code":
            exec(source, names)


def test_a_notebook_is_run_in_a_folder_of_its_own_and_keeps_its_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nbclient")
    for name in ("PATH", "COLUMNS"):  # which run changes
        monkeypatch.setenv(name, "/usr/bin:/bin")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    source = f"import os, shutil; print('\\x1b[1m', os.listdir(), shutil.which('{Path(sys.executable).name}'))"
    notebook["cells"] = [{**code, "source": source, "outputs": []}]
    (tmp_path / "short.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    module(ROOT / "examples" / "run_notebook.py").run(tmp_path / "short.ipynb")
    (cell,) = json.loads((tmp_path / "short.ipynb").read_text(encoding="utf-8"))["cells"]
    assert "".join(cell["outputs"][0]["text"]).split() == ["[]", sys.executable]


DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_and_links_of_a_document_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    paths = re.findall(r"`([\w./]+/[\w.]+\.(?:py|yaml|md|jinja|ipynb))`", text)
    missing = [path for path in paths if "NAME" not in path and not any((base / path).exists() for base in BASES)]
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    pages = {"first_model.md", "options.md"}  # that building the documentation makes
    missing += [link for link in links if link and link not in pages and not (document.parent / link).exists()]
    assert missing == []

"""Run a notebook from top to bottom and keep its outputs: python examples/run_notebook.py [NOTEBOOK] [--discard]"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")  # sequences of a terminal
_PROGRESS = re.compile(r"^.*━.*\d%.*\n?", re.MULTILINE)
NOTEBOOK = Path(__file__).with_name("your_first_model.ipynb")


def run(path: Path, keep: bool = True) -> None:
    """Run a notebook in a temporary folder; an error in a cell raises CellExecutionError.

    Its outputs are written to `path` unless `keep` is false. The `softpoint` command is that of this environment.
    """
    os.environ |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "110"}
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"timeout": 600, "record_timing": False, "coalesce_streams": True}
        NotebookClient(notebook, resources={"metadata": {"path": folder}}, **settings).execute()
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if "text" in output:
            output["text"] = _PROGRESS.sub("", _ESCAPE.sub("", output["text"])).lstrip()
        if "image/png" in output.get("data", {}):
            output["data"]["image/png"] = smaller(output["data"]["image/png"])
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    if keep:
        nbformat.write(notebook, path)


def smaller(png: str) -> str:
    """Return a chart with 32 colors, both as PNG in Base64."""
    stored = BytesIO()
    image = Image.open(BytesIO(b64decode(png))).convert("RGB")
    image.quantize(32, dither=Image.Dither.NONE).save(stored, "PNG", optimize=True)
    return b64encode(stored.getvalue()).decode()


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:] if word != "--discard"]
    for path in paths or [NOTEBOOK]:
        run(path, keep="--discard" not in sys.argv)

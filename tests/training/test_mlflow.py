"""Curves, images and tables of a run reach a real MLflow server on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from softpoint.training.dashboard.loggers import mlflow_logger
from softpoint.training.dashboard.writers import writers

mlflow: Any = pytest.importorskip("mlflow", reason='needs mlflow: pip install "softpoint[mlflow]"')

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the libraries' own warnings


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server with a database and artifacts of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination",
        str(tmp_path / "files"),
    ]
    command = [sys.executable, "-m", "mlflow", "server", *words, "--port", str(port), "--workers", "1"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def files_of(client: Any, run: str, folder: str = "") -> list[str]:
    entries = client.list_artifacts(run, folder)
    return [path for entry in entries for path in (files_of(client, run, entry.path) if entry.is_dir else [entry.path])]


def test_a_server_of_mlflow_gets_curves_images_and_tables(server: str, tmp_path: Path) -> None:
    logger = mlflow_logger("unused", "softpoint", server)
    (writer,) = writers(SimpleNamespace(is_global_zero=True, loggers=[logger]))
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    writer.image("val/predictions", image, 7)
    writer.table("val/keypoints", ["keypoint", "epe"], [["nose", "1.5"]], 7)
    logger.log_metrics({"val/pck@0.1": 0.5}, 7)
    client = mlflow.MlflowClient(server)
    assert client.get_run(logger.run_id).data.metrics == {"val/pck at 0.1": 0.5}
    files = files_of(client, logger.run_id)
    (table,) = [path for path in files if path.endswith(".md")]
    assert "| nose | 1.5 |" in Path(client.download_artifacts(logger.run_id, table, str(tmp_path))).read_text()
    (drawn,) = [path for path in files if path.endswith(".png")]
    stored = cv2.imread(client.download_artifacts(logger.run_id, drawn, str(tmp_path)))
    assert np.array_equal(stored[..., ::-1], image)

"""Explore spatial softmax and attention in a browser: softpoint explore"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig


def main(cfg: DictConfig) -> None:
    """Serve the page until the process is stopped."""
    from softpoint.extras import require

    require("uvicorn", "explore", "exploring")
    from softpoint.serving.server import address_of, listen, serve

    with listen(cfg.host, cfg.port) as listening, TemporaryDirectory(prefix="softpoint-explore-") as folder:
        # gradio reads these when it is imported.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        logging.getLogger("numexpr").setLevel(logging.WARNING)  # of pandas, which gradio imports
        require("gradio", "explore", "exploring")
        from softpoint.explorer.app import create_app

        app = create_app(Path(folder), cfg.host)
        print(f"open {address_of(listening)}/ in a browser; Ctrl-C stops", flush=True)
        serve(app, listening, grace_s=1, access_log=False)

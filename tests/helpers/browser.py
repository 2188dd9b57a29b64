"""A headless Chromium for tests of pages, which notes what a page complains of and asks the network for."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """Opens pages in a light or dark mode; `driver` is Selenium's, for clicks, keys and uploads."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        os.environ["SE_AVOID_STATS"] = "true"
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, Service(DRIVER))

    def open(self, url: str | Path, mode: str = "light", width: int = 1200) -> None:
        """Open an address or a file; `width` in CSS pixels."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": mode}])
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.driver.get(url.as_uri() if isinstance(url, Path) else url)

    def run(self, script: str) -> Any:
        """Return what JavaScript returns."""
        return self.driver.execute_script(script)

    def complaints(self) -> list[str]:
        """Return the messages of the console since the last call, but of requests that newer ones replaced."""
        messages = [entry["message"] for entry in self.driver.get_log("browser")]
        return [message for message in messages if "AbortError" not in message]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the last call, those within a page (data:) aside."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def screenshot(self, path: Path) -> None:
        """Write a PNG of what is in view."""
        data = self.command("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def command(self, name: str, **arguments: Any) -> Any:
        """Run a command of Chromium's DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

"""Pages in a real browser: headless Chromium, where it and its driver are installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

A4_LANDSCAPE = 1032
"""Width of the print area in CSS pixels: 297 mm less margins of 12 mm."""


def open_browser() -> Any:
    """A browser that keeps its console and its requests; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with its driver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--window-size=1400,1000",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))


def visit(browser: Any, page: Path, place: str = "") -> None:
    """Opens a page; a page that is open already is loaded again."""
    browser.get("about:blank")
    browser.get(page.resolve().as_uri() + place)


def resize(browser: Any, width: int, is_phone: bool = False, media: str = "screen") -> None:
    """Gives the page so many CSS pixels."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": is_phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})


def complaints(browser: Any) -> list[str]:
    """What the browser's console says."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser: Any) -> list[str]:
    """Addresses that were asked for."""
    found = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return found

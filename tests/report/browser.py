"""A real headless Chromium, where there is one."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
)  # fmt: skip

# What it says of drawing without a graphics card, which is none of the page's.
_DRAWING = ("WebGL", "GL Driver", "Canvas2D")


@contextmanager
def chromium(*flags: str, scripts: bool = True) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own; the test is skipped where there is none."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium-driver)")
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in (*_FLAGS, f"--user-data-dir={profile}", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        if not scripts:
            options.add_experimental_option(
                "prefs", {"profile.managed_default_content_settings.javascript": 2}
            )
        browser = webdriver.Chrome(options=options, service=Service(driver))
        try:
            browser.set_page_load_timeout(60)
            yield browser
        finally:
            browser.quit()


def open_page(
    browser: webdriver.Chrome, file: Path, *, width: int = 1100, height: int = 900,
    dark: bool = False, plots: int = 0,
) -> None:  # fmt: skip
    """Open a file on a screen of a size, and wait for its moving pictures."""
    # A window cannot be as narrow as a phone; the emulated screen can.
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    set_dark(browser, dark)
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # of what was open before
    browser.get(file.as_uri())
    ready = "return document.querySelectorAll('.plot[data-ready]').length"
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(ready) == plots)


def set_dark(browser: webdriver.Chrome, dark: bool) -> None:
    """Let the page think that the reader likes it dark, or light."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def complaints(browser: webdriver.Chrome) -> list[str]:
    """Errors and warnings on the console, but for what Chromium says of drawing by a processor."""
    logged: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[assignment]
    return [
        entry["message"]
        for entry in logged
        if entry["level"] in ("SEVERE", "ERROR")
        or (entry["level"] == "WARNING" and not any(w in entry["message"] for w in _DRAWING))
    ]


def requests(browser: webdriver.Chrome) -> list[str]:
    """Addresses of everything that was asked for."""
    logged: list[dict[str, Any]] = browser.get_log("performance")  # type: ignore[assignment]
    events = [json.loads(entry["message"])["message"] for entry in logged]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]

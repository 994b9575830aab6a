"""A headless Chromium, driven over chromedriver's WebDriver protocol: HTTP and JSON alone."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "apt install chromium chromium-driver"
STARTUP_S = 20


@dataclass(frozen=True)
class Browser:
    """A session; `base` is its address."""

    base: str

    def show(
        self, page: Path, *, size: tuple[int, int], dark: bool = False, touch: bool = False
    ) -> None:
        """Open a file on a screen of this width and height; the logs begin anew."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1],
                 deviceScaleFactor=1, mobile=touch)  # fmt: skip
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.log("browser")
        self.log("performance")
        self._post("url", {"url": page.resolve().as_uri()})

    def box(self, selector: str, *, scroll: bool = True) -> dict[str, float]:
        """Where the first element of a selector is in the window, which scrolls to it before.

        Pages hear of the scrolling with the next frame: two frames are waited for.
        """
        script = (
            "const [selector, scroll, done] = arguments, one = document.querySelector(selector);"
            "if (scroll) one.scrollIntoView({ block: 'center', behavior: 'instant' });"
            "const tell = () => done(one.getBoundingClientRect().toJSON());"
            "requestAnimationFrame(() => requestAnimationFrame(tell))"
        )
        found: dict[str, float] = self._post(
            "execute/async", {"script": script, "args": [selector, scroll]}
        )
        return found

    def middle(self, selector: str, *, scroll: bool = True) -> tuple[float, float]:
        """The middle of `box`."""
        box = self.box(selector, scroll=scroll)
        return box["left"] + box["width"] / 2, box["top"] + box["height"] / 2

    def tip(self) -> str:
        """What the pages tell about a mark of a plot."""
        text: str = self.js("return document.querySelector('#tip').textContent")
        return text

    def js(self, script: str, *values: Any) -> Any:
        """What the body of a function returns; `arguments` are the values."""
        return self._post("execute/sync", {"script": script, "args": list(values)})

    def mouse(self, *spots: tuple[float, float], down: bool = False, kind: str = "mouse") -> None:
        """Move through spots of the window; with `down` the button is held from the first on."""
        steps = [
            {"type": "pointerMove", "x": round(x), "y": round(y), "duration": 0} for x, y in spots
        ]
        if down:
            steps[1:1] = [{"type": "pointerDown", "button": 0}]
            steps.append({"type": "pointerUp", "button": 0})
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}}
        self._post("actions", {"actions": [{**pointer, "actions": steps}]})

    def press(self, *keys: str) -> None:
        """Press keys one after another; see KEYS for those without a character."""
        steps = [
            {"type": kind, "value": KEYS.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        self._post("actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def picture(self) -> NDArray[np.uint8]:
        """What the window shows, RGB uint8 [h,w,3]."""
        data = base64.b64decode(self._call("GET", "screenshot"))
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        return np.asarray(decoded[..., ::-1], np.uint8)

    def log(self, kind: str) -> list[dict[str, Any]]:
        """The entries since the last call: "browser" has errors, "performance" the requests."""
        entries: list[dict[str, Any]] = self._post("se/log", {"type": kind})
        return entries

    def requests(self) -> list[str]:
        """Addresses asked for since the page was opened, but for what is in the page itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        asked = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]

    def cdp(self, command: str, **params: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self._post("goog/cdp/execute", {"cmd": command, "params": params})

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return call(method, f"{self.base}/{path}", body)


KEYS = {
    **{"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "End": "\ue010", "Home": "\ue011"},
    **{"Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"},
}


@contextmanager
def started(folder: Path) -> Iterator[Browser]:
    """A browser with a fresh profile below `folder`; it ends with the block."""
    assert CHROMIUM, MISSING
    assert DRIVER, MISSING
    port = _free_port()
    log = (folder / "driver.log").open("wb")
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=log, stderr=log)
    base = ""
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address)
        options = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                     "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}"],
        }  # fmt: skip
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = call("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
        base = f"{address}/session/{made['sessionId']}"
        yield Browser(base)
    finally:
        if base:
            call("DELETE", base)
        driver.terminate()
        driver.wait(10)
        log.close()


def call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    """The value that the driver answers with; AssertionError with its words if it refuses."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with _LOCAL.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(json.load(error)["value"]["message"]) from None


_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(address: str) -> None:
    end = time.monotonic() + STARTUP_S
    while True:
        try:
            if call("GET", f"{address}/status")["ready"]:
                return
        except OSError:
            assert time.monotonic() < end, "chromedriver does not answer"
        time.sleep(0.05)

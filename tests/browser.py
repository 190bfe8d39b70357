"""Chromium, driven through its own pipe (the DevTools protocol): no driver to install."""

import json
import os
import select
import shutil
import subprocess
import time
from base64 import b64decode
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PATIENCE = 30  # seconds
KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowRight": 39,
}


class Browser:
    """One page in a headless browser that has no network; ``faults`` is what its console said."""

    def __init__(self, folder: Path) -> None:
        read, ours = os.pipe()
        theirs, write = os.pipe()
        options = "--headless --no-sandbox --disable-gpu --remote-debugging-pipe"
        options += " --host-resolver-rules='MAP * ~NOTFOUND' --hide-scrollbars"
        command = f"exec {CHROMIUM} {options} --user-data-dir={folder}/profile 3<&{read} 4>&{write}"
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", command], pass_fds=(read, write), stderr=subprocess.DEVNULL
        )
        os.close(read)
        os.close(write)
        self.input, self.output = os.fdopen(ours, "wb", 0), theirs
        self.number, self.session, self.waiting = 0, "", b""
        self.faults: list[str] = []
        self.fetched: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        self.process.wait()
        self.input.close()
        os.close(self.output)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.input.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.waiting:
            assert select.select([self.output], [], [], PATIENCE)[0], "the browser does not answer"
            more = os.read(self.output, 2**20)
            assert more, "the browser is gone"
            self.waiting += more
        data, _, self.waiting = self.waiting.partition(b"\0")
        answer: dict[str, Any] = json.loads(data)
        method, parameters = answer.get("method"), answer.get("params", {})
        if method in ("Runtime.exceptionThrown", "Log.entryAdded") or (
            method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning")
        ):
            self.faults.append(json.dumps(parameters)[:500])
        if method == "Network.requestWillBeSent":
            self.fetched.append(parameters["request"]["url"])
        return answer

    def open(
        self,
        path: Path,
        width: int = 1280,
        dark: bool = False,
        paper: str = "",
        script: bool = True,
    ) -> None:
        """Open the file at this width in CSS pixels; ``paper`` is "print" or nothing."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # no smooth scrolling
        self.call("Emulation.setEmulatedMedia", media=paper, features=[scheme, still])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.faults.clear()
        self.fetched.clear()
        self.call("Page.navigate", url=path.as_uri())
        for _ in range(200):
            if self.run("document.readyState") == "complete":
                break
            time.sleep(0.05)
        time.sleep(0.2)

    def run(self, code: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """A real click in the middle of an element, which has to be visible."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        time.sleep(0.05)
        x, y = self.run(
            f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def mouse(self, kind: str, x: float, y: float) -> None:
        button = "none" if kind == "mouseMoved" else "left"
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def press(self, key: str) -> None:
        """A key, where the focus is."""
        more = {"text": "\r"} if key == "Enter" else {}
        code = KEYS[key]
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(more if kind == "keyDown" else {}),
            )

    def picture(self, path: Path, height: int | None = None) -> None:
        """A screenshot of the whole page, or of so many pixels of its top."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "scale": 1}
        shot = self.call(
            "Page.captureScreenshot",
            captureBeyondViewport=True,
            clip={**clip, "height": height or size["height"]},
        )
        path.write_bytes(b64decode(shot["data"]))

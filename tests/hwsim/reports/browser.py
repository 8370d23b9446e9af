"""A headless Chromium without a network, driven over its debugging pipe: no library and no port is needed for that."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
         "--host-resolver-rules=MAP * ~NOTFOUND")
#: Chromium reads from file 3 and writes to file 4.
LAUNCH = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
TIMEOUT_SECONDS = 60.0


class Page:
    """A tab; everything that it complains about stands in `complaints`, everything that it asked for in `requests`."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._rest, self._calls, self._session = send, receive, b"", 0, ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        self._calls += 1
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._send, json.dumps({"id": self._calls, "method": method, "params": parameters, **session}).encode() + b"\0")
        number = self._calls
        return next(one for one in self._messages() if one.get("id") == number)["result"]  # type: ignore[no-any-return]

    def _messages(self) -> Iterator[dict[str, Any]]:
        until = time.monotonic() + TIMEOUT_SECONDS
        while True:
            while b"\0" not in self._rest:
                if not select.select([self._receive], [], [], max(0.0, until - time.monotonic()))[0]:
                    raise TimeoutError("Chromium does not answer")
                self._rest += os.read(self._receive, 1 << 20)
            text, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(text)
            assert "error" not in message, message
            self._note(message)
            yield message

    def _note(self, message: dict[str, Any]) -> None:
        method, values = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(values["exceptionDetails"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.complaints.append(values["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(values["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])

    def open(self, path: Path, width: int = 1280, *, dark: bool = False) -> None:
        """Load a file in a window of that width, as high as the page."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self._size(width, 800)
        self.call("Page.navigate", url=path.as_uri())
        next(one for one in self._messages() if one.get("method") == "Page.loadEventFired")
        self._size(width, int(self.value("document.documentElement.scrollHeight")))

    def _size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def value(self, expression: str) -> Any:
        """What a piece of JavaScript gives."""
        made = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in made, made
        return made["result"].get("value")

    def picture(self) -> bytes:
        """A screenshot, PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def printed(self) -> bytes:
        """The page on paper, PDF."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)["data"])


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a Chromium that keeps its things in `folder`; skips the test where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium")
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (their_in, their_out)]  # neither is 3 or 4
    os.close(their_in)
    os.close(their_out)
    process = subprocess.Popen([sys.executable, "-c", LAUNCH, *map(str, theirs), path, *FLAGS, f"--user-data-dir={folder}"], pass_fds=theirs,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    for one in theirs:
        os.close(one)
    try:
        page = Page(our_out, our_in)
        yield page
        with contextlib.suppress(OSError, StopIteration):
            os.write(our_out, b'{"id": 0, "method": "Browser.close"}\0')
        process.wait(20)
    finally:
        os.close(our_in)
        os.close(our_out)
        if process.poll() is None:
            process.kill()
            process.wait()

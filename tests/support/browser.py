"""Chromium without a window, spoken to by its DevTools protocol."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

SECONDS = 60


def chromium() -> str:
    """The browser; without one a test is skipped, where it is not held to be complete."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        reason = "needs Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Tab:
    """One page of a browser; what it logs and asks of the network is kept."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.number = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=SECONDS))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, page: Path) -> None:
        """Load a file, and wait until it says that it is loaded."""
        self.call("Page.navigate", url=page.as_uri())
        while not self.seen("Page.loadEventFired"):
            self.events.append(json.loads(self.socket.recv(timeout=SECONDS)))

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + SECONDS
        while not self.run(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.05)

    def seen(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]

    def complaints(self) -> list[Any]:
        """Errors and warnings: of scripts, of the console, and of the browser."""
        said = [
            call for call in self.seen("Runtime.consoleAPICalled") if call["type"] in ("error", "warning", "assert")
        ]
        entries = [entry["entry"] for entry in self.seen("Log.entryAdded")]
        logged = [entry for entry in entries if entry["level"] in ("error", "warning")]
        return [*said, *logged, *self.seen("Runtime.exceptionThrown")]

    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        return [event["request"]["url"] for event in self.seen("Network.requestWillBeSent")]

    def look(self, width: int, dark: bool = False) -> None:
        """As wide as this, in this colour scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def opened(folder: Path) -> Iterator[Tab]:
    """A tab of a browser with a profile of its own, that no name leads out of."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [chromium(), *options, "--disable-background-networking", "about:blank"]
    # A pipe that nobody reads would stop it when it has said enough.
    folder.mkdir(parents=True, exist_ok=True)
    said = folder / "stderr.txt"
    with said.open("w") as stderr, subprocess.Popen(command, stderr=stderr, stdout=subprocess.DEVNULL) as browser:
        try:
            with connect(_address(browser, said), max_size=None, open_timeout=SECONDS) as socket:
                yield Tab(_Attached(socket))
        finally:
            browser.kill()


def _address(browser: subprocess.Popen[bytes], said: Path) -> str:
    """Where it listens, which it tells when it is ready."""
    end = time.monotonic() + SECONDS
    while True:
        is_over = browser.poll() is not None or time.monotonic() > end
        text = said.read_text(errors="replace")
        if found := re.search(r"listening on (ws://\S+)\s", text):
            return found[1]
        assert not is_over, f"Chromium does not listen (exit status {browser.poll()}): {text}"
        time.sleep(0.05)


class _Attached:
    """The browser's socket, with every message sent to the first page."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.session = ""
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self._ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.socket.send(json.dumps({"id": 0, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=SECONDS))
            if message.get("id") == 0:
                return message["result"]

    def send(self, text: str) -> None:
        self.socket.send(json.dumps({**json.loads(text), "sessionId": self.session}))

    def recv(self, timeout: float) -> str:
        return str(self.socket.recv(timeout=timeout))

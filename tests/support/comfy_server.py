"""Starts the real ComfyUI server with the pack in its `custom_nodes`, and talks to it over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from comfy_host import DEMO_MODEL, ROOT, TINY_MODELS, find_host

PACK = "ComfyUI-SenCache"
TEST_NODES = ROOT / "tests" / "e2e" / "tiny_prompt"
START_SECONDS = 600


class QueueError(RuntimeError):
    """The server refused a prompt, or a node failed; the message is what a person would read."""


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ComfyServer:
    """One server process on a folder of its own, with further arguments if wished; a context manager.

    `models` is another server's folder of models, which this one then shares.
    """

    def __init__(self, base: Path, *arguments: str, models: Path | None = None) -> None:
        self.base = base
        self._models = models
        self._arguments = arguments
        self.log = base / "server.log"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ComfyServer:
        nodes = self.base / "custom_nodes"
        nodes.mkdir(parents=True)
        (nodes / PACK).symlink_to(ROOT, target_is_directory=True)
        (nodes / TEST_NODES.name).symlink_to(TEST_NODES, target_is_directory=True)
        if self._models is not None:
            (self.base / "models").symlink_to(self._models, target_is_directory=True)
        models = self.base / "models" / "diffusion_models"
        models.mkdir(parents=True, exist_ok=True)
        for model in (DEMO_MODEL, *TINY_MODELS.glob("*.safetensors")):
            if not (models / model.name).exists():
                shutil.copy(model, models)
        host = find_host()
        assert host is not None
        command = [
            sys.executable, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self._port),
            "--disable-auto-launch", "--base-directory", str(self.base), "--disable-api-nodes",
            "--database-url", "sqlite:///:memory:", "--disable-all-custom-nodes",
            "--whitelist-custom-nodes", PACK, TEST_NODES.name, *self._arguments,
        ]  # fmt: skip
        frontend = os.environ.get("COMFYUI_FRONTEND")  # an older host's own, where another one is installed
        command += ["--front-end-root", frontend] if frontend else []
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=host, stdout=log, stderr=subprocess.STDOUT)
        self._wait_until_up()
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        """Where a browser finds the server."""
        return f"http://127.0.0.1:{self._port}"

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended while starting:\n{self.log.read_text()[-3000:]}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.3)
        raise RuntimeError(f"ComfyUI was not up after {START_SECONDS} s:\n{self.log.read_text()[-3000:]}")

    def _request(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=300) as response:
            return bytes(response.read())

    def get(self, path: str) -> Any:
        """Fetch JSON."""
        return json.loads(self._request(path))

    def settings(self, values: dict[str, Any]) -> None:
        """Change the user's settings as the frontend does."""
        self._request("/settings", values)

    def post(self, path: str, body: Any) -> Any:
        """Send JSON and return the answer."""
        return json.loads(self._request(path, body))

    def view(self, image: dict[str, str]) -> bytes:
        """Fetch a picture that a node showed."""
        return self._request("/view?" + urllib.parse.urlencode(image))

    def submit(self, prompt: dict[str, Any]) -> str:
        """Queue an API-format prompt and return its id; raises QueueError where validation refuses it."""
        try:
            return str(json.loads(self._request("/prompt", {"prompt": prompt}))["prompt_id"])
        except urllib.error.HTTPError as error:
            raise QueueError(error.read().decode()) from None

    def wait(self, prompt_id: str, seconds: float = 240) -> dict[str, Any]:
        """Wait for a queued prompt and return its history; raises QueueError where a node failed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}").get(prompt_id)
            if history is not None:
                failures = [data for name, data in history["status"]["messages"] if name == "execution_error"]
                if failures:
                    raise QueueError(failures[0]["exception_message"].strip())
                return dict(history)
            time.sleep(0.1)
        raise TimeoutError(f"the prompt was not done after {seconds} s")

    def wait_for_next(self, seconds: float = 240) -> dict[str, Any]:
        """Wait for the first prompt that a browser queued, and return its history."""
        deadline = time.monotonic() + seconds
        while not (queued := self.get("/history")) and time.monotonic() < deadline:
            time.sleep(0.2)
        return self.wait(next(iter(queued)))

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Queue a prompt and wait for it."""
        return self.wait(self.submit(prompt))

    def interrupt(self) -> None:
        """Press Cancel."""
        self._request("/interrupt", {})

    def forget_history(self) -> None:
        """Empty the list of prompts that were run."""
        self._request("/history", {"clear": True})

    def executed(self, history: dict[str, Any], prompt: dict[str, Any]) -> set[str]:
        """Return the ids of the nodes that ran, and were not taken from the host's cache."""
        cached = [data["nodes"] for name, data in history["status"]["messages"] if name == "execution_cached"]
        return set(prompt) - {node for nodes in cached for node in nodes}

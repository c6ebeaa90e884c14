"""What the page of scripts/demo.py answers to, and how long it keeps what is sent to it.

Any web page that the user looks at can send requests to this machine, and read the answers if its own name leads here
(DNS rebinding). So the name that was asked for has to be ours, what another page sends is refused, and only what our
page needs is answered at all. Nothing of Gradio is imported here.
"""

import contextlib
import json
import math
import socket
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HERE = ("localhost", "127.0.0.1", "::1")
ALL = ("0.0.0.0", "::", "")  # addresses that let others in
BIGGEST = 50 * 2**20  # bytes of an image
MAX_STORED = 10 * BIGGEST  # bytes of all images that are kept
MAX_ASKED = 2 * 2**20  # bytes of any other request; a drawing has some thousands
KEPT_SECONDS = 600  # how long a visitor's image stays, to be looked at again with another setting
API = "/gradio_api"
UPLOAD, JOIN = f"{API}/upload", f"{API}/queue/join"
# All that the page asks for: Gradio has more, such as fetching files from elsewhere.
ROUTES = {"", "/config", "/theme.css", "/favicon.ico", "/manifest.json", UPLOAD, JOIN}
ROUTES |= {f"{API}/{name}" for name in ("queue/data", "upload_progress", "component_server", "startup-events")}
ROUTES |= {f"{API}/{name}" for name in ("info", "app_id", "cancel", "reset", "theme.css")}
FOLDERS = ("/assets/", "/static/", f"{API}/heartbeat/", f"{API}/file=/")


class Guard:
    """Answers what the page's own browser asks, and refuses everything else.

    Args:
        app: the page.
        host: the address listened at.
        folder: where uploads lie.
        inputs: by number of one of the page's functions, how many values it takes.
    """

    def __init__(self, app: ASGIApp, host: str, folder: Path, inputs: Mapping[int, int]) -> None:
        self.app = app
        self.hosts = {*HERE, host.lower().strip("[]")}
        self.lets_others_in = host in ALL
        if self.lets_others_in:
            self.hosts.add(socket.gethostname().lower())
        self.folder = folder
        self.inputs = inputs
        self.under_way = 0  # bytes that are being uploaded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no socket
            return
        headers = Headers(scope=scope)
        path = scope["path"].rstrip("/")
        length = headers.get("content-length", "0")
        size = int(length) if length.isdecimal() else math.inf
        status, text = self._refusal(headers, path, size)
        if status == 200 and path == JOIN and scope["method"] == "POST":
            body = await Request(scope, receive).body()
            receive = _repeated(body, receive)
            if not self._is_question(body):
                status, text = 422, "This is no question that the page asks."
        if status != 200:
            await PlainTextResponse(text + "\n", status)(scope, receive, send)
            return
        uploaded = int(size) if path == UPLOAD else 0
        self.under_way += uploaded
        try:
            await self.app(scope, receive, send)
        finally:
            self.under_way -= uploaded

    def _refusal(self, headers: Headers, path: str, size: float) -> tuple[int, str]:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):
            return 403, f"This page is not at {host!r}: open it at one of {', '.join(sorted(self.hosts))}."
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, f"Pages of {origin!r} cannot ask this one."
        if path not in ROUTES and not path.startswith(FOLDERS):
            return 404, "There is no such page."
        if "transfer-encoding" in headers:
            return 411, "A request says how long it is."
        if size > (BIGGEST if path == UPLOAD else MAX_ASKED):
            return 413, f"This is too large: an image takes up to {BIGGEST // 2**20} MB."
        if path == UPLOAD and stored(self.folder) + self.under_way + size > MAX_STORED:
            return 507, f"Too many images are kept at the moment; they are deleted after {KEPT_SECONDS // 60} minutes."
        return 200, ""

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        return name in self.hosts or (self.lets_others_in and _is_address(name))

    def _is_question(self, body: bytes) -> bool:
        """Whether a function of the page can take it; Gradio's own answer to another is a traceback."""
        try:
            asked = json.loads(body)
            return len(asked["data"]) == self.inputs[asked["fn_index"]] and isinstance(asked["data"], list)
        except (ValueError, TypeError, KeyError, RecursionError):
            return False


def _is_address(name: str) -> bool:
    """Whether it is the number of a machine, which leads to no other one."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            return bool(socket.inet_pton(family, name))
    return False


def _repeated(body: bytes, receive: Receive) -> Receive:
    """Return what gives a request's body again, and then what comes next."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return messages.pop() if messages else await receive()

    return again


def stored(folder: Path) -> int:
    """Return how many bytes lie in a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another thread was quicker to delete it
            total += path.lstat().st_size
    return total


def sweep(folder: Path, kept: Collection[Path], seconds: float) -> None:
    """Delete what was written longer ago than that, whoever did so and however it is called, except for `kept`."""
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder after what is in it
        with contextlib.suppress(OSError):
            if path not in kept and path.lstat().st_mtime < time.time() - seconds:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

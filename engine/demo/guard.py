"""The guard in front of the demo page: which requests are answered, and how long uploads are kept.

Any web page that the user opens can send requests to this machine, and read the answers if its name resolves to this
address (DNS rebinding). So the host name must be ours, requests from other pages' origins are refused, and only the
routes that our page needs exist. This file does not import Gradio.
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
ALL = ("0.0.0.0", "::", "")  # addresses that other machines can reach
BIGGEST = 50 * 2**20  # bytes of an image
MAX_STORED = 10 * BIGGEST  # bytes of all images that are kept
MAX_ASKED = 2 * 2**20  # bytes of any other request; a drawing takes a few thousand
KEPT_SECONDS = 600  # for which an upload is kept, so that other settings can be tried on it
API = "/gradio_api"
UPLOAD, JOIN = f"{API}/upload", f"{API}/queue/join"
# The routes that the page needs. Gradio has more, such as one that fetches files from other servers.
ROUTES = {"", "/config", "/theme.css", "/favicon.ico", "/manifest.json", UPLOAD, JOIN}
ROUTES |= {f"{API}/{name}" for name in ("queue/data", "upload_progress", "component_server", "startup-events")}
ROUTES |= {f"{API}/{name}" for name in ("info", "app_id", "cancel", "reset", "theme.css")}
FOLDERS = ("/assets/", "/static/", f"{API}/heartbeat/", f"{API}/file=/")


class Guard:
    """Passes the page's own requests to the app, and refuses all others.

    Args:
        app: the page.
        host: the address that the server listens on.
        folder: holds uploads.
        inputs: the number of arguments of each of the page's functions, by the function's number.
    """

    def __init__(self, app: ASGIApp, host: str, folder: Path, inputs: Mapping[int, int]) -> None:
        self.app = app
        self.hosts = {*HERE, host.lower().strip("[]")}
        self.lets_others_in = host in ALL
        if self.lets_others_in:
            self.hosts.add(socket.gethostname().lower())
        self.folder = folder
        self.inputs = inputs
        self.under_way = 0  # bytes of uploads in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page needs no websocket
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
                status, text = 422, "This is not a request of the page."
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
            return 403, f"Pages of {origin!r} may not send requests here."
        if path not in ROUTES and not path.startswith(FOLDERS):
            return 404, "There is no such page."
        if "transfer-encoding" in headers:
            return 411, "A request needs a Content-Length."
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
        """Whether it has the number and arguments of a function of the page; Gradio prints a traceback otherwise."""
        try:
            asked = json.loads(body)
            return len(asked["data"]) == self.inputs[asked["fn_index"]] and isinstance(asked["data"], list)
        except (ValueError, TypeError, KeyError, RecursionError):
            return False


def _is_address(name: str) -> bool:
    """Whether a host is a numeric IP address, which DNS rebinding cannot use."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            return bool(socket.inet_pton(family, name))
    return False


def _repeated(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that repeats a request's body once, then goes on with `receive`."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return messages.pop() if messages else await receive()

    return again


def stored(folder: Path) -> int:
    """Return the size of a folder's content in bytes."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another thread may have deleted it
            total += path.lstat().st_size
    return total


def sweep(folder: Path, kept: Collection[Path], seconds: float) -> None:
    """Delete every file and empty folder older than `seconds`, except for `kept`."""
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder after its content
        with contextlib.suppress(OSError):
            if path not in kept and path.lstat().st_mtime < time.time() - seconds:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

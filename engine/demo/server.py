"""Serving the demo page, without log output, until a signal ends it."""

import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio import queueing

from engine.demo.guard import BIGGEST, KEPT_SECONDS, Guard, sweep

SWEEP_SECONDS = 30  # between deletions of old uploads


def serve(page: gr.Blocks, listening: socket.socket, host: str, folder: Path, look: Mapping[str, Any]) -> None:
    """Serve a page until a signal arrives, which is then raised again.

    Args:
        page: the page.
        listening: the listening socket.
        host: its address.
        folder: holds uploads; its present files are kept.
        look: Gradio's arguments for the page's look.
    """
    queueing.traceback = SimpleNamespace(print_exc=_print_if_ours)  # type: ignore[assignment]
    app = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        "/",
        server_name=host,
        server_port=listening.getsockname()[1],
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=BIGGEST,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        **look,
    )
    inputs = {number: len(function.inputs) for number, function in page.fns.items()}
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(app, host, folder, inputs),
            log_config=None,
            log_level="critical",  # no tracebacks for malformed requests
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,  # browsers keep a connection open while they show the page
        )
    )
    kept = set(folder.rglob("*"))
    ended = threading.Event()

    def sweep_on() -> None:
        while not ended.wait(SWEEP_SECONDS):
            sweep(folder, kept, KEPT_SECONDS)

    threading.Thread(target=sweep_on, daemon=True).start()
    try:
        server.run(sockets=[listening])
    finally:
        ended.set()


def _print_if_ours() -> None:
    """Print the current error, in place of Gradio, if it passed through our code; not for malformed requests."""
    error = sys.exc_info()[1]
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    if any(Path(__file__).parent.parent in Path(frame.filename).parents for frame in frames):
        traceback.print_exc()

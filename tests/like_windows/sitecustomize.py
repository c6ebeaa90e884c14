"""Takes from Python what Windows lacks; Python imports this file by its name where this folder is in PYTHONPATH.

Modules, signals and functions of POSIX are gone, processes are spawned, and a file that is open can be neither
replaced nor removed. Paths with backslashes and what other libraries do on Windows only Windows can show.
"""

import asyncio  # noqa: F401, and what follows: of POSIX's own kind here, while they can still be imported
import concurrent.futures.process  # noqa: F401
import ctypes
import fcntl
import multiprocessing.context
import os
import shutil
import signal
import subprocess  # noqa: F401
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLAGS = fcntl.fcntl, fcntl.F_GETFL
KEPT = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIGCHLD")  # the last is torch's by sys.platform
MODULES = ("fcntl", "grp", "pwd", "pty", "resource", "termios", "tty")
FUNCTIONS = (
    *("fork", "forkpty", "getegid", "geteuid", "getgid", "getpgid", "getpgrp", "getuid", "killpg", "mkfifo", "nice"),
    *(
        "O_DIRECTORY",
        "O_NOFOLLOW",
        "O_NONBLOCK",
        "pread",
        "pwrite",
        "sched_getaffinity",
        "setsid",
        "statvfs",
        "sysconf",
    ),
)


def opened(path: Any) -> bool:
    """Whether this process has a file open."""
    place = os.path.realpath(path)
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == place:
                return True
        except OSError:
            continue
    return False


def unless_open(function: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*paths: Any, **options: Any) -> Any:
        for path in paths:
            if not isinstance(path, int) and not os.path.islink(path) and opened(path):
                raise PermissionError(13, "The process cannot access the file: it is being used", os.fspath(path))
        return function(*paths, **options)

    return guarded


def fsync(handle: Any, fsync: Callable[[int], None] = os.fsync) -> None:
    number = handle if isinstance(handle, int) else handle.fileno()
    get, flags = FLAGS
    if get(number, flags) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    fsync(number)


class CDLL(ctypes.CDLL):
    def __init__(self, name: Any, *arguments: Any, **options: Any) -> None:
        if name is None:
            raise TypeError("LoadLibrary() argument 1 must be str, not None")
        if str(name).startswith("libc."):
            raise FileNotFoundError(f"Could not find module '{name}'")
        super().__init__(name, *arguments, **options)


for name in MODULES:
    sys.modules[name] = None  # type: ignore[assignment]
for name in [name for name in vars(signal) if name.startswith("SIG") and name.isalnum() and name not in KEPT]:
    delattr(signal, name)
for name in FUNCTIONS:
    delattr(os, name)
for name in ("remove", "rename", "replace", "unlink"):
    setattr(os, name, unless_open(getattr(os, name)))
os.fsync = fsync  # type: ignore[assignment]
shutil._use_fd_functions = False  # type: ignore[attr-defined]
ctypes.CDLL = CDLL  # type: ignore[misc]
for name in ("fork", "forkserver"):
    del multiprocessing.context._concrete_contexts[name]  # type: ignore[attr-defined]
del multiprocessing.context.ForkContext, multiprocessing.context.ForkProcess
multiprocessing.context._default_context._default_context = multiprocessing.get_context("spawn")  # type: ignore
Path("like_windows").touch()  # seen by the tests: it was in force

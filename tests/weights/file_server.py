"""A server of one file on this machine, that can misbehave in every way a download must survive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer:
    """What the server does, and what it was asked.

    Attributes:
        content: of the file.
        ranges: whether it honours requests for a part.
        cuts: numbers of bytes after which it closes the connection, one for each answer; then it is whole.
        statuses: failures to answer with first.
        location: redirects there.
        length: whether it says how long the file is.
        asked: the ``Range`` header of every request, None without.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges = True
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.location: str | None = None
        self.length = True
        self.asked: list[str | None] = []
        self.url = ""
        self.lock = threading.Lock()


@contextmanager
def serve(content: bytes) -> Iterator[FileServer]:
    state = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            with state.lock:
                state.asked.append(wanted)
                status = state.statuses.pop(0) if state.statuses else None
                cut = state.cuts.pop(0) if state.cuts else None
            if status is not None:
                self.send_error(status)
            elif state.location is not None:
                self.send_response(302)
                self.send_header("Location", state.location)
                self.end_headers()
            else:
                self.answer(wanted if state.ranges else None, cut)

        def answer(self, wanted: str | None, cut: int | None) -> None:
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if start >= len(state.content):
                return self.send_error(416)
            self.send_response(206 if wanted else 200)
            if wanted:
                end = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(state.content)}")
            if state.length:
                self.send_header("Content-Length", str(len(state.content) - start))
            self.end_headers()
            self.wfile.write(state.content[start:][:cut])
            self.close_connection = True
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

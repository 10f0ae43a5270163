"""A remote folder: a web server on this machine with versions, ranges, a count of what was fetched, and a brake."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Remote:
    """What the server gives, and what it was asked.

    Attributes:
        url: The address of its folder.
        files: The files by name; change them at will.
        fetched: How often each file was sent whole.
        ranges: How often a part of each file was sent.
        seconds_per_file: How long sending a whole file takes.
        meanwhile: Called with a file's name when part of it has been sent.
        versions: Whether it tells versions apart (ETag).
    """

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.fetched: Counter[str] = Counter()
        self.ranges: Counter[str] = Counter()
        self.seconds_per_file = 0.0
        self.meanwhile: Callable[[str], None] = lambda name: None
        self.versions = True


class _Handler(BaseHTTPRequestHandler):
    remote: Remote

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        name = self.path.rpartition("/")[2]
        content = self.remote.files.get(name)
        if content is None:
            self.send_error(404)
            return
        span = self.headers.get("Range")
        if span:
            start, stop = span.removeprefix("bytes=").split("-")
            part = content[int(start) : int(stop) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}")
        else:
            part = content
            self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        if self.remote.versions:
            self.send_header("ETag", hashlib.sha256(content).hexdigest())
        self.end_headers()
        if body:
            (self.remote.ranges if span else self.remote.fetched)[name] += 1
            self._send(name, part)

    def _send(self, name: str, content: bytes, pieces: int = 10) -> None:
        step = len(content) // pieces + 1
        for start in range(0, len(content), step):
            try:
                self.wfile.write(content[start : start + step])
            except OSError:  # the reader was killed
                return
            self.remote.meanwhile(name)
            time.sleep(self.remote.seconds_per_file / pieces)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def loopback() -> Iterator[Remote]:
    """Serve a remote folder while the context lasts."""
    remote = Remote()
    handler = type("Handler", (_Handler,), {"remote": remote})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    remote.url = f"http://127.0.0.1:{server.server_port}/shards"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield remote
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

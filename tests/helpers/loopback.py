"""A remote folder: a web server on this machine with versions, ranges, a count of what was fetched, and faults."""

import hashlib
import threading
import time
from collections import Counter, deque
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
        has_ranges: Whether it sends parts of files; else it sends the whole, as `python -m http.server` does.
        has_head: Whether it answers HEAD.
        says_length: Whether it announces the length of an answer.
        faults: What happens to the next requests for contents, one by one: a status (`503`), `drop`, `stall`, `stall
            at once`, `drip` (single bytes) or `garble`; or `""` for nothing.
        always: What happens to every other request, in the same words.
        share: The share of the content that is sent before a fault.
        released: Ends stalls.
        sent: Bytes of contents sent so far.
    """

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.fetched: Counter[str] = Counter()
        self.ranges: Counter[str] = Counter()
        self.seconds_per_file = 0.0
        self.meanwhile: Callable[[str], None] = lambda name: None
        self.versions = True
        self.has_ranges = True
        self.has_head = True
        self.says_length = True
        self.faults: deque[str] = deque()
        self.always = ""
        self.share = 0.5
        self.released = threading.Event()
        self.sent = 0


class _Handler(BaseHTTPRequestHandler):
    remote: Remote

    def do_HEAD(self) -> None:
        if not self.remote.has_head:
            self.send_error(405)
            return
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        content = self.remote.files.get(name)
        fault = (self.remote.faults.popleft() if self.remote.faults else self.remote.always) if body else ""
        self.close_connection = bool(fault) or not self.remote.says_length
        if fault.isdigit():
            self.send_error(int(fault))
            return
        if fault == "stall at once":
            self.remote.released.wait()
            return
        if content is None:
            self.send_error(404)
            return
        span = self.headers.get("Range") if self.remote.has_ranges else None
        part = self._head(content, span)
        if body:
            (self.remote.ranges if span else self.remote.fetched)[name] += 1
            self._send(name, part, fault)

    def _head(self, content: bytes, span: str | None) -> bytes:
        """Send the head of the answer, and return its content."""
        part = content
        if span:
            first, last = span.removeprefix("bytes=").split("-")
            if int(first) >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return b""
            part = content[int(first) : int(last) + 1 if last else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.remote.says_length:
            self.send_header("Content-Length", str(len(part)))
        if self.remote.versions:
            self.send_header("ETag", hashlib.sha256(content).hexdigest())
        self.end_headers()
        return part

    def _send(self, name: str, content: bytes, fault: str, pieces: int = 10) -> None:
        if fault == "garble":
            content = content[:-1] + bytes([content[-1] ^ 1]) if content else content
        step = len(content) // pieces + 1
        stop = int(self.remote.share * len(content)) if fault and fault != "garble" else len(content)
        try:
            for start in range(0, stop, step):
                self.wfile.write(content[start : min(start + step, stop)])
                self.remote.sent += min(start + step, stop) - start
                self.remote.meanwhile(name)
                time.sleep(self.remote.seconds_per_file / pieces)
            self.wfile.flush()
            if fault == "stall":
                self.remote.released.wait()
            for number in range(stop, len(content)) if fault == "drip" else ():
                self.wfile.write(content[number : number + 1])
                self.wfile.flush()
                if self.remote.released.wait(0.05):
                    return
        except OSError:  # the reader was killed, or has given up
            return

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def loopback() -> Iterator[Remote]:
    """Serve a remote folder while the context lasts."""
    remote = Remote()
    handler = type("Handler", (_Handler,), {"remote": remote})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # readers break off
    remote.url = f"http://127.0.0.1:{server.server_port}/shards"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield remote
    finally:
        remote.released.set()
        server.shutdown()
        thread.join()
        server.server_close()

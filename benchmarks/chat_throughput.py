"""Requests per second of the chat scorer, compared with sending them one by one.

    python benchmarks/chat_throughput.py --json results.json

The endpoint is a local process that answers every request after the same time. So the figure measures our side of the
connection, not a model. In a run the datamodule's workers encode the frames; here this is done beforehand, and its
processor time is reported by itself. `--pixels` leaves it to the scorer, as `score_clips` does.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from lightning_vista.scorers import ChatScorer
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.video.encoding import encode_jpegs
from lightning_vista.vista.batch import Candidates, Question, VideoBatch

TARGET = 20.0
REPLY = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "none",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a: 5\nb: 0"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def serve(address: Connection, latency: float) -> None:
    """Answer every request after a fixed time, until the process ends."""
    content = json.dumps(REPLY).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while header := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"(?i)content-length: (\d+)", header)
            await reader.readexactly(int(length[1]) if length else 0)
            await asyncio.sleep(latency)
            writer.write(head + content)

    async def main() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", 0, limit=2**22)
        # Ignore the errors that asyncio reports when a client closes its connection.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        address.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def endpoint(latency: float) -> Iterator[str]:
    """Run an endpoint during the context; yields its address."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, latency), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def videos(count: int, num_frames: int, size: int) -> VideoBatch:
    """Return videos of soft noise, whose JPEG files are about as large as those of real frames."""
    coarse = torch.rand(count * num_frames, 3, size // 8, size // 8)
    frames = (interpolate(coarse, (size, size), mode="bilinear") * 255).byte()
    candidates = (Candidates("toy/level_1/objects/a", ("a", "b"), ("We see a", "We see b")),)
    questions = tuple(Question(f"toy/{number}.mp4", candidates, None) for number in range(count))
    return VideoBatch(
        frames.reshape(count, num_frames, *frames.shape[1:]), (tuple(range(num_frames)),) * count, questions
    )


def encoded(batch: VideoBatch) -> VideoBatch:
    """Return a batch as the datamodule's workers deliver it to a chat scorer."""
    files = [encode_jpegs(video, 90) for video in batch.frames]
    empty = torch.empty(len(batch), 0, 3, 0, 0, dtype=torch.uint8)
    return VideoBatch(empty, batch.frame_indices, batch.questions, jpegs=files)


def requests_per_second(url: str, batch: VideoBatch, concurrency: int) -> float:
    """Return the number of videos per second that are asked about (once each) and cached, with a new cache."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"limits": Limits(concurrency=concurrency), "cache": str(Path(folder) / "replies.sqlite")}
        scorer = ChatScorer("none", url, mode="single", json_schema=False, **settings)
        scorer.setup("predict")
        start = time.perf_counter()
        scorer.score(batch)
        seconds = time.perf_counter() - start
        scorer.teardown("predict")
    return len(batch) / seconds


def main() -> None:
    """Measure, print, write JSON."""
    options = parse()
    torch.set_num_threads(1)
    few, many = (videos(count, options.frames, options.size) for count in (options.serial, options.requests))
    start = time.process_time()
    files = [encoded(batch) for batch in (few, many)]
    encoding = 1000 * (time.process_time() - start) / (options.serial + options.requests)
    if not options.pixels:
        few, many = files
    serial, parallel, asking = [], [], []
    with endpoint(options.latency) as url:
        requests_per_second(url, videos(1, options.frames, options.size), 1)  # warm-up: imports the client
        for _ in range(options.rounds):
            serial.append(requests_per_second(url, few, 1))
            start = time.process_time()
            parallel.append(requests_per_second(url, many, options.concurrency))
            asking.append(1000 * (time.process_time() - start) / options.requests)
    ratio = max(parallel) / max(serial)
    print(f"one by one: {max(serial):.1f} requests/s; {options.concurrency} concurrent: {max(parallel):.1f} requests/s")
    print(f"ratio {ratio:.1f}, target >= {TARGET:g}: {'met' if ratio >= TARGET else 'NOT MET'}")
    print(f"processor time per video: {encoding:.1f} ms of encoding, {min(asking):.1f} ms of asking")
    if options.json:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()}
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        figures = {"ratio": ratio, "target": TARGET, "serial": serial, "parallel": parallel}
        figures |= {"encoding_ms": encoding, "asking_ms": asking}
        document = {"machine": machine, "settings": settings, **figures}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Parse the options; all of them have defaults."""
    parser = argparse.ArgumentParser(description="Measure the throughput of ChatScorer.")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    parser.add_argument("--latency", type=float, default=0.2, help="response time of the endpoint in seconds")
    parser.add_argument("--concurrency", type=int, default=32, help="number of concurrent requests")
    parser.add_argument("--requests", type=int, default=640, help="number of requests at that concurrency")
    parser.add_argument("--serial", type=int, default=25, help="number of requests one by one")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the fastest counts")
    parser.add_argument("--frames", type=int, default=1, help="number of frames of each video")
    parser.add_argument("--size", type=int, default=64, help="height and width of the frames in pixels")
    parser.add_argument("--pixels", action="store_true", help="let the scorer encode the frames")
    return parser.parse_args()


if __name__ == "__main__":
    main()

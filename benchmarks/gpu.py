"""Everything that needs a GPU, in one command of at most 20 minutes; writes a page.

    make gpu
    python benchmarks/gpu.py --smoke --out /tmp/gpu.md     # tries it on a CPU, with tiny sizes

Needs nothing beyond torch, lightning, transformers and this repository, and no network. A part that fails is named in
the page, and the others continue.
"""

import argparse
import logging
import platform
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))  # the repository travels without an installation

import lightning  # noqa: E402
import transformers  # noqa: E402
from gpu_routing import Sizes, exactness, monitor, overhead, tiny_stories  # noqa: E402
from gpu_scoring import TowerSizes, scorers  # noqa: E402

#: GPT-Neos: the small one of the exactness, those of the overhead, and the paper's of TinyStories.
_EXACT = Sizes(width=256, layers=4, heads=8, vocabulary=2000, batch=8, tokens=64)
_SMALL = Sizes(width=400, layers=4, heads=8, vocabulary=50_257, batch=32, tokens=256)
_LARGE = Sizes(width=1536, layers=24, heads=12, vocabulary=50_257, batch=16, tokens=512)
_PAPER = Sizes(width=512, layers=8, heads=16, vocabulary=50_257, batch=80, tokens=256)
_TINY = Sizes(width=32, layers=2, heads=2, vocabulary=200, batch=2, tokens=16)
_TINY_TOWER = TowerSizes(width=64, layers=2, heads=1, patch=14, size=28, dim=32)


@dataclass
class Section:
    """A part of the page.

    Attributes:
        title: Heading.
        note: Sentence about what was measured.
        head: Names of the columns.
        rows: Generator of the rows.
        seconds: Time that it took.
        fault: Last line of the error, where it failed.
    """

    title: str
    note: str
    head: Sequence[str]
    rows: Callable[[], Iterable[list[str]]]
    found: list[list[str]] = field(default_factory=list)
    seconds: float = 0.0
    fault: str = ""

    def run(self) -> None:
        """Measure, and keep what went wrong for the page."""
        start = time.perf_counter()
        try:
            for row in self.rows():
                print(f"  {' | '.join(row)}", flush=True)
                self.found.append(row)
        except Exception as error:  # of any kind: the other parts are still worth measuring
            traceback.print_exc()
            self.fault = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        self.seconds = time.perf_counter() - start
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def text(self) -> str:
        """Return the part as Markdown."""
        lines = [f"| {' | '.join(self.head)} |", f"|{'---|' * len(self.head)}"]
        lines += [f"| {' | '.join(row)} |" for row in self.found]
        failed = [f"\n**This part failed: {self.fault}**"] if self.fault else []
        return "\n".join([f"## {self.title}\n", f"{self.note} ({self.seconds:.0f} s)\n", *lines, *failed])


def sections(device: torch.device, is_smoke: bool, end: float) -> Iterator[Section]:
    """Yield the parts; the last one takes what is left of the time."""
    small, large, paper = (_TINY, _TINY, _TINY) if is_smoke else (_SMALL, _LARGE, _PAPER)
    tower, rounds, seconds = (_TINY_TOWER, 2, 0.5) if is_smoke else (TowerSizes(), 15, 15.0)
    compiler = "aot_eager" if is_smoke else "inductor"  # the second compiles for minutes on a CPU

    def overheads() -> Iterator[list[str]]:
        for sizes in (small, large):
            for backend in (None, compiler):
                yield overhead(sizes, device, rounds, backend)

    yield Section(
        "Exactness of routing",
        "Differences from the gradients of the paper's formula with full masks, and the gradient that routing blocks.",
        ("precision", "mode", "routing", "the formula again", "no routing", "largest blocked gradient"),
        lambda: exactness(_TINY if is_smoke else _EXACT, device, compiler),
    )
    yield Section(
        "Cost of routing",
        "Training steps with AdamW in bfloat16; median ratios of seconds, variants in turns.",
        ("parameters", "mode", "unrouted step, ms", "routed / unrouted", "`ParameterRoute` / unrouted"),
        overheads,
    )
    yield Section(
        "Cost of the monitor",
        "Lightning's training steps in bfloat16, of the smaller model.",
        ("callbacks", "step, ms", "ratio"),
        lambda: monitor(small, device, 6 if is_smoke else 40),
    )
    yield Section(
        "Evaluation",
        "Random weights, 8 frames a video, bfloat16, 100 descriptions; clips come decoded and resized from workers.",
        ("scorer", "parameters of the tower, millions", "videos/s", "frames/s", "share of the time in the model", "GB"),
        lambda: scorers(tower, device, 2 if is_smoke else 32, seconds, 0 if is_smoke else 8),
    )
    yield Section(
        "The paper's size of TinyStories",
        "The sizes of configs/unlearning/paper/tinystories_28m.yaml, on synthetic tokens, for as many steps as fit.",
        ("steps", "step, ms", "tokens/s", "hours of 5,000 steps", "first loss", "last loss", "GB"),
        lambda: iter([tiny_stories(paper, device, 2.0 if is_smoke else max(30.0, end - time.perf_counter()))]),
    )


def page(done: Sequence[Section], device: torch.device, is_smoke: bool, seconds: float) -> str:
    """Return the page as Markdown."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"
    versions = f"torch {torch.__version__}, lightning {lightning.__version__}, transformers {transformers.__version__}"
    command = "python benchmarks/gpu.py --smoke" if is_smoke else "make gpu"
    warning = "\n\n**A smoke with tiny sizes: these figures only show that the benchmark runs.**" if is_smoke else ""
    head = f"# On a GPU\n\n`{command}`, commit {_commit()}, {name}, {versions}, {seconds / 60:.1f} minutes.{warning}"
    return "\n\n".join([head, *(section.text() for section in done)]) + "\n"


def _commit() -> str:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"  # the repository may travel without its history


def main() -> int:
    """Measure everything, write the page; return 1 if a part failed."""
    parser = argparse.ArgumentParser(description="Measure on a GPU.")
    parser.add_argument("--out", type=Path, default=_ROOT / "docs" / "results" / "gpu.md", help="page (%(default)s)")
    parser.add_argument("--minutes", type=float, default=19, help="time for everything (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, also on a CPU: figures mean nothing")
    options = parser.parse_args()
    default = parser.get_default("out")
    if not options.smoke and not torch.cuda.is_available():
        raise SystemExit("gpu.py: expected a GPU, got none. --smoke tries everything on the CPU, with tiny sizes.")
    if options.smoke and options.out == default:
        raise SystemExit("gpu.py: `--out`: expected another file for a smoke, whose figures mean nothing. Name one.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("lightning.pytorch", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    start = time.perf_counter()
    done = []
    for section in sections(device, options.smoke, start + 60 * options.minutes):
        print(section.title, flush=True)
        section.run()
        done.append(section)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(done, device, options.smoke, time.perf_counter() - start), encoding="utf-8")
    print(f"Page: {options.out}")
    return 1 if any(section.fault for section in done) else 0


if __name__ == "__main__":
    sys.exit(main())

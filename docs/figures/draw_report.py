"""Takes the pictures of docs/report.md from the demo's page, and measures the page.

    python docs/figures/draw_report.py --page demo/report/report.html            # after `make demo`
    python docs/figures/draw_report.py --page demo/report/report.html --measure  # weight and times alone

Needs Chromium on PATH, as the browser tests do.
"""

import argparse
import base64
import gzip
import io
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
if str(HELPERS) not in sys.path:
    sys.path.insert(0, str(HELPERS))

from browser import CHROMIUM, Browser  # noqa: E402  the helpers are found by the path above

OUT = ROOT / "docs" / "report"
#: Palettes keep each picture small; the page has fewer colours than this, but for its film strips.
COLOURS = 256


@dataclass(frozen=True)
class Form:
    """One look of the page.

    Attributes:
        width: Width of the window, in CSS pixels.
        height: Height of the window, which is what the picture shows.
        scheme: `light` or `dark`.
        media: `screen` or `print`.
    """

    width: int
    height: int
    scheme: str = "light"
    media: str = "screen"


#: Paper is A4 at 96 pixels an inch, less Chromium's margins of 1 cm.
FORMS = {
    "light": Form(1440, 900),
    "phone": Form(390, 1100),
    "dark": Form(1440, 900, scheme="dark"),
    "print": Form(718, 1047, media="print"),
}


def take(browser: Browser, page: Path, form: Form) -> Image.Image:
    """Open the page in one of its forms and return its first screen."""
    browser.resize(form.width, form.height)
    scheme = {"name": "prefers-color-scheme", "value": form.scheme}
    browser.send("Emulation.setEmulatedMedia", media=form.media, features=[scheme])
    browser.send("Emulation.setScrollbarsHidden", hidden=True)
    browser.open(page)
    content = browser.send("Page.captureScreenshot", format="png")["data"]
    return Image.open(io.BytesIO(base64.b64decode(content)))


def draw(page: Path, out: Path) -> None:
    """Write the picture of each form."""
    out.mkdir(parents=True, exist_ok=True)
    for name, form in FORMS.items():
        with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
            picture = take(browser, page, form).convert("RGB")
        path = out / f"{name}.png"
        picture.quantize(COLOURS, kmeans=3, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def measure(page: Path, rounds: int = 5) -> None:
    """Print the weight of the page, and the median times until it can be used.

    Its scripts stand inline at its end, so every control works when the event `DOMContentLoaded` has been handled.
    """
    content = page.read_bytes()
    print(f"weight: {len(content) / 1e6:.2f} MB ({len(gzip.compress(content)) / 1e6:.2f} MB as gzip)")
    times: dict[str, list[float]] = {"domContentLoadedEventEnd": [], "loadEventEnd": []}
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        browser.resize(1440, 900)
        for _ in range(rounds):
            browser.send("Page.navigate", url="about:blank")
            browser.open(page)
            browser.wait_for("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            for name, found in times.items():
                found.append(browser.run(f"performance.getEntriesByType('navigation')[0].{name}"))
    for name, title in (("domContentLoadedEventEnd", "interactive"), ("loadEventEnd", "loaded")):
        least, middle, most = min(times[name]), statistics.median(times[name]), max(times[name])
        print(f"{title}: {middle:.0f} ms (median of {rounds}; {least:.0f} to {most:.0f} ms)")


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=Path("demo/report/report.html"), help="the page of the demo")
    parser.add_argument("--measure", action="store_true", help="measure the page alone")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the pictures")
    options = parser.parse_args()
    if CHROMIUM is None:
        parser.error("expected Chromium on PATH, found none. Install it: apt-get install chromium")
    if not options.page.is_file():
        parser.error(f"--page: expected the page of the demo, got {options.page}. Run `make demo` first")
    page = options.page.resolve()
    if not options.measure:
        draw(page, options.out)
    measure(page)


if __name__ == "__main__":
    main()

"""The wheel works outside the repository, in a folder with spaces and letters beyond ASCII: base, then all."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import lightning_vista

ROOT = Path(__file__).parents[2]
#: Commands that need an extra, and one extra that each may name.
NEEDS_EXTRA = {
    "demo --scale 0.1": "mini",
    "mini out": "mini",
    "shards verify shards": "vista",
    "compose clips.csv out": "vista",
    "report run --out report": "vista",
    "export leaderboard run --dataset tasks --out board.csv": "vista",
    "study partition_digits --smoke": "vista",
    "pretrained out --tiny": "text",
    "test --config vista/random.yaml --data.shards shards": "vista",
    "predict --config vista/clip_small.yaml --data.shards shards": "vista",
    "fit --config unlearning/own_model.yaml": "text",
}

pytestmark = pytest.mark.slow


def run(
    command: list[str], cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command without the repository on its path."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    kept |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONUTF8": "1", **(environment or {})}
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, encoding="utf-8", timeout=1500)


def succeed(command: list[str], cwd: Path) -> str:
    result = run(command, cwd)
    assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    found = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(found).exists():
        pytest.skip("uv, which builds and installs, is not here: pip install uv")
    return found


@pytest.fixture(scope="module")
def dist(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist of a copy of the repository's files; a build in the repository would leave files there."""
    source, out = tmp_path_factory.mktemp("source") / "repository", tmp_path_factory.mktemp("dist")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    succeed([uv, "build", "--quiet", "--out-dir", str(out), str(source)], source)  # the wheel comes from the sdist
    return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place") / "Meine Ordner 目录 é"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def environment(uv: str, dist: Path, place: Path) -> Path:
    """A fresh environment with the base installation; its folder of programs."""
    succeed([uv, "venv", "--quiet", "--python", sys.executable, str(place / "venv")], place)
    return install(uv, dist, place, "")


def install(uv: str, dist: Path, place: Path, extra: str) -> Path:
    (wheel,) = dist.glob("*.whl")
    programs = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
    constraint = ["--constraint", str(ROOT / "constraints.txt")]
    succeed(
        [uv, "pip", "install", "--quiet", "--python", str(programs / "python"), *constraint, f"{wheel}{extra}"], place
    )
    return programs


def test_wheel_and_sdist_hold_configs_types_and_weights(dist: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (path,) = [name for name in names if name.endswith("METADATA")]
        metadata = archive.read(path).decode("utf-8")
    shipped = {f"lightning_vista/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert shipped <= names
    assert {"lightning_vista/py.typed", "lightning_vista/callbacks/ablation.py"} <= names
    assert "lightning_vista/scorers/weights/temporal.safetensors" in names
    assert not [name for name in names if name.startswith(("tests", "docs", "configs/", "callbacks/"))]
    assert f"Version: {lightning_vista.__version__}" in metadata
    assert all(f"Python :: 3.{minor}\n" in metadata for minor in (11, 12, 13, 14))
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert shipped | {"pyproject.toml", "README.md", "LICENSE"} <= packed


def test_the_base_installation_routes(environment: Path, place: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# route\.py\n.*?)```", readme, flags=re.DOTALL)
    (place / "route.py").write_text(code, encoding="utf-8")
    succeed([str(environment / "python"), "route.py"], place)
    assert list(place.rglob("routing.csv"))
    printed = succeed([str(environment / "lightning-vista"), "configs"], place)
    assert "vista/clip_small.yaml" in printed
    assert succeed([str(environment / "lightning-vista"), "configs", "vista/random.yaml"], place).startswith("#")
    assert "ok      route gradients" in succeed([str(environment / "lightning-vista"), "doctor"], place)


@pytest.mark.parametrize("command", NEEDS_EXTRA)
def test_commands_that_need_an_extra_name_it_in_one_line(command: str, environment: Path, place: Path) -> None:
    (place / "clips.csv").write_text("clip,step\nclips.csv,go\n", encoding="utf-8")
    result = run([str(environment / "lightning-vista"), *command.split()], place, {"PYTHONWARNINGS": "ignore"})
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Seed set")]
    assert result.returncode
    assert len(lines) == 1, result.stderr
    assert re.search(rf"pip install 'lightning-vista\[({NEEDS_EXTRA[command]})\]'", lines[0])


def test_everything_works_from_the_wheel(environment: Path, uv: str, dist: Path, place: Path) -> None:
    """Comes last: it changes the environment."""
    install(uv, dist, place, "[all]")
    program = str(environment / "lightning-vista")
    succeed([program, "demo", "--scale", "0.1"], place)
    assert (place / "demo/report/report.html").stat().st_size > 100_000
    succeed([program, "test", "--config", "configs/vista/random.yaml", "--data.shards", "demo/shards"], place)
    succeed([program, "report", "runs/random-scorer", "demo/runs/dual-slot", "--out", "report"], place)
    assert (place / "report/results.json").exists()
    succeed([program, "study", "partition_digits", "--smoke"], place)
    assert list((place / "runs/studies/partition_digits_smoke").glob("*.html"))
    copied = succeed([program, "configs", "studies/partition_digits.yaml", "--copy", "my configs"], place)
    assert {Path(line).name for line in copied.splitlines()} == {"partition_digits.yaml", "partition_autoencoder.yaml"}
    succeed([program, "study", "my configs/studies/partition_digits.yaml", "--smoke", "--out", "again"], place)

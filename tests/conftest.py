"""One thread per worker, no time limits of hypothesis, and a tiny dataset with its shards, made once per worker."""

import os

# Before torch, numpy and polars are imported, also by the processes that tests start: `make test` runs a worker on
# every core, and the threads of one would take the core of another.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(variable, "1")
# Processes of one run meet at a port. Lightning asks for a free one and uses it seconds later, when another worker's
# server may have it. Those that systems give away begin at 32,768.
os.environ["MASTER_PORT"] = str(20_000 + os.getpid() % 10_000)

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from tiny_data import moving_square, tiny_problem_sets

from lightning_vista.video import encode_mp4
from lightning_vista.vista import write_problem_sets
from lightning_vista.vista.shards import build_shards

# An example may take as long as a busy machine needs.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

OFFICIAL = Path(__file__).parents[2] / "shared" / "vista-official.tar.xz"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tasks`, `metadata.csv` and `videos`: 13 videos, 3 problem sets."""
    root = tmp_path_factory.mktemp("dataset")
    problem_sets = tiny_problem_sets()
    write_problem_sets(problem_sets, root)
    names = sorted({problem_set.video_key(video) for problem_set in problem_sets for video in problem_set.videos})
    for seed, name in enumerate(names):
        path = root / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mp4(moving_square(seed)))
    return root


@pytest.fixture(scope="session")
def shards(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset in several small shards."""
    out = tmp_path_factory.mktemp("shards")
    build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.008)
    return out


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official metadata and problem sets, which lie beside the project where it is developed."""
    if not OFFICIAL.exists():
        pytest.skip("the official metadata is not beside the project")
    root = tmp_path_factory.mktemp("official")
    with tarfile.open(OFFICIAL) as archive:
        archive.extractall(root, filter="data")
    return root / "vista-official"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors are fastest on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

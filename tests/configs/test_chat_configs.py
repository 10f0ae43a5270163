"""The chat judges' YAMLs run, against an endpoint on this machine and with stub weights."""

from pathlib import Path

import pytest
from chat_server import chat_server
from logprob_replies import draw, saying
from provider_formats import FORMATS
from tiny_chat_model import save_llava
from tiny_video_models import save_qwen3_vl
from vllm_stand_in import stand_in

from lightning_vista.cli import main
from lightning_vista.vista.tables import read_scores

CONFIGS = Path(__file__).parents[2] / "configs" / "vista"


def run(config: str, shards: Path, run_dir: Path, *more: str) -> None:
    data = ["--data.shards", str(shards), "--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    main(["test", "--config", str(CONFIGS / config), *data, "--evaluation.run_dir", str(run_dir), *more])


def test_gpt4o(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with chat_server() as server:
        endpoint = ["--model.base_url", server.url]
        run("gpt4o.yaml", shards, tmp_path / "run", *endpoint, "--evaluation.dry_run", "true")
        assert not server.bodies
        run("gpt4o.yaml", shards, tmp_path / "run", *endpoint)
        asked = len(server.bodies)
        run("gpt4o.yaml", shards, tmp_path / "run", *endpoint, "--model.limits.max_cost", "1")
        assert len(server.bodies) == asked == 3 * 14
    rows = read_scores(tmp_path / "run").rows
    assert rows["score"].null_count() == 0
    assert rows.height == 40
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "sk-secret" not in config
    assert server.keys == {"Bearer no-key"}  # that of OpenAI is for OpenAI


@pytest.mark.parametrize("config", ["anthropic", "gemini", "openrouter", "vllm_server", "ollama"])
def test_other_endpoints(config: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = [f"{name}_API_KEY" for name in ("ANTHROPIC", "GEMINI", "OPENROUTER")]
    for variable in variables:
        monkeypatch.setenv(variable, "sk-secret")
    with chat_server() as server:
        server.format = FORMATS.get(config, server.format)
        url = server.url if config not in FORMATS else server.url.removesuffix("/v1")
        run(f"{config}.yaml", shards, tmp_path / "run", "--model.base_url", url, "--model.model", "tiny")
        bodies = server.bodies
        assert server.keys <= {"sk-secret", "Bearer sk-secret", "Bearer no-key"}
    assert len(bodies) == 3 * 14
    assert read_scores(tmp_path / "run").rows["score"].null_count() == 0
    if config == "ollama":
        assert all(body["max_tokens"] == 2048 and "max_completion_tokens" not in body for body in bodies)
    if config == "vllm_server":
        assert all(body["max_completion_tokens"] == 2048 for body in bodies)
    assert "sk-secret" not in (tmp_path / "run" / "config.yaml").read_text()


def test_vllm(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = stand_in(monkeypatch)
    run("vllm.yaml", shards, tmp_path / "run", "--model.model", "tiny")
    (engine,) = vllm.engines
    assert engine.arguments["limit_mm_per_prompt"] == {"image": 16}
    assert engine.arguments["max_model_len"] == 32768
    assert read_scores(tmp_path / "run").rows["score"].null_count() == 0


def test_local_chat(shards: Path, tmp_path: Path) -> None:
    settings = ["--model.model", save_llava(tmp_path / "tiny"), "--model.max_tokens", "4", "--model.dtype", "float32"]
    run("local_chat.yaml", shards, tmp_path / "run", *settings)
    rows = read_scores(tmp_path / "run").rows
    assert rows.height == 40
    assert set(rows["reason"]) <= {"parse_error", "truncated"}  # random weights follow no instructions


@pytest.mark.parametrize("question", ["claim", "choice"])
def test_likelihood(shards: Path, tmp_path: Path, question: str) -> None:
    settings = ["--model.model", save_qwen3_vl(tmp_path / "tiny"), "--model.dtype", "float32", "--model.size", "64"]
    run("likelihood.yaml", shards, tmp_path / "run", *settings, "--model.question", question)
    rows = read_scores(tmp_path / "run").rows
    assert rows.height == 40
    assert rows["score"].null_count() == 0
    assert (rows["score"] < 0).all()


def test_likelihood_endpoint(shards: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        server.say = lambda body: saying(draw(body))
        run("likelihood_endpoint.yaml", shards, tmp_path / "run", "--model.base_url", server.url)
    rows = read_scores(tmp_path / "run").rows
    assert server.keys == {"Bearer no-key"}  # not that of another provider
    assert rows.height == 40
    assert rows["score"].null_count() == 0
    assert (rows["score"] < 0).all()
    assert all("logprobs" in body for body in server.bodies)

import random
import string
from pathlib import Path
from typing import Any

import pytest

from lightning_vista.files.redaction import address_identity, secrets_of, settings_without_secrets, without_secrets

SECRET = "hunter2Zq"


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{SECRET}@host/v1",
        f"https://{SECRET}@host:8000/v1",
        f"https://me:p@{SECRET}@host/v1",
        f"https://me:a/{SECRET}@host/v1",
        f"https://me:a?{SECRET}@host/v1",
        f"s3://key:{SECRET}@bucket/shards",
        f"simplecache::http://me:{SECRET}@host/x",
        f"http://host/v1?api_key={SECRET}",
        str(Path(f"https://me:{SECRET}@host/v1")),
        str(Path(f"s3://{SECRET}@bucket/shards")),
        f"http://host/v1?api-version=2&Subscription-Key={SECRET}#x",
        f"http://host/a?X-Amz-Credential={SECRET}%2F1&X-Amz-Signature={SECRET}",
        f"http://host/a?sv=1&sp=r&sig={SECRET}",
        f"http://host/a?k={SECRET}",
        f"http://host/a#access_token={SECRET}",
        f"http://host/a;sig={SECRET}",
        f"http://host/a?x={SECRET}, then another sentence",
        f"url=URL('http://me:{SECRET}@127.0.0.1:80/a/index.json')",
        f"Max retries exceeded with url: /v1/chat?token={SECRET} (Caused by",
        f"GET /index.json?sig={SECRET} HTTP/1.1",
        f'{{"url": "https:\\/\\/me:{SECRET}@host\\/x"}}',
        f"Authorization: Bearer {SECRET}",
        f"api_key={SECRET}",
        f"<a href='http://h/?a=1&amp;token={SECRET}'>",
    ],
)
def test_no_secret_of_an_address_is_shown(text: str) -> None:
    shown = without_secrets(text)
    assert SECRET not in shown
    assert "***" in shown
    assert without_secrets(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8000/v1/chat/completions: 404",
        "https://host/v1?api-version=2024-10-21",
        "http://[::1]:8000/v1?api-version=a@b",
        "s3://bucket/shards of a@b.c",
        "/data/a b/c.tar",
        "no file: /data/a@b.c",
        "file:/data/a@b.c",
        "file:///data/x.tar",
        "what is x? It is y=3; z=4",
        "First, we go to a, and then we go to b",
        "key_variable: OPENAI_API_KEY",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_secrets(text) == text


def test_settings_are_hidden_by_name_and_by_content() -> None:
    settings = {
        "base_url": f"https://me:{SECRET}@host",
        "key_variable": "MY_KEY",
        "max_tokens": 5,
        "tokenizer": "bert",
        "parameters": {"extra_headers": {"Authorization": SECRET, "X-Api-Key": SECRET}, "keyword": "door"},
        "list": [{"hf_token": SECRET}, f"http://h/?sig={SECRET}"],
        "api_key": None,
        "password": "",
    }
    shown = settings_without_secrets(settings)
    assert SECRET not in str(shown)
    for key in ("key_variable", "max_tokens", "tokenizer", "api_key", "password"):
        assert shown[key] == settings[key]
    assert shown["parameters"]["keyword"] == "door"


@pytest.mark.parametrize(
    "settings",
    [
        {"password": 123456},
        {"db_password": 12.5},
        {"apiKey": 42},
        {"clientSecret": SECRET},
        {"dbPassword": SECRET},
        {"awsSecretAccessKey": SECRET},
        {"api_keys": [SECRET, 7]},
        {"proxy_auth": (SECRET, SECRET)},
        {"basicAuth": f"me:{SECRET}"},
    ],
)
def test_secrets_may_be_numbers_and_names_may_have_humps(settings: dict[str, Any]) -> None:
    shown = settings_without_secrets(settings)
    assert {text for value in shown.values() for text in ([value] if isinstance(value, str) else value)} == {"***"}
    others = {"max_tokens": 5, "token": 3, "padTokenId": 0, "key": 2, "use_auth": True, "seed": 1}
    assert settings_without_secrets(others) == others


def test_a_new_key_is_the_same_endpoint_and_another_tier_is_not() -> None:
    base = "https://me:{}@host/v1?tier={}&sig={}"
    assert address_identity(base.format("a", 1, "x")) == address_identity(base.format("b", 1, "y"))
    assert address_identity(base.format("a", 1, "x")) != address_identity(base.format("a", 2, "x"))
    assert address_identity("https://host/v1") == "https://host/v1"


def test_random_passwords_are_found_in_texts_of_other_programs() -> None:
    rng = random.Random(0)
    for _ in range(200):
        secret = "".join(rng.choices(string.ascii_letters + string.digits + "-._~!$*+,=%", k=12)).replace("%", "%25")
        address = f"https://user:{secret}@host/v1?code={secret}x"
        assert secret in secrets_of(address)
        assert secret not in without_secrets(address)
        assert secret not in without_secrets(f"failed: {address}: timeout")

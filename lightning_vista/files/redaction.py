"""Addresses and settings without passwords and keys, as they are stored and shown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, unquote_plus

import yaml

#: Stands for what was removed.
HIDDEN = "***"
#: Query parameters whose values are shown. Any other one may hold a key: names such as `sig`, `k` and `hdnea` do.
_SHOWN = frozenset(
    ("api-version", "apiversion", "version", "versionid", "region", "deployment", "model", "format", "page", "alt")
)
#: Parts of names of query parameters that certainly hold a secret.
_SECRET = re.compile(r"key|token|secret|sig|pass|pwd|auth|cred|session|code|jwt|sas|hmac|ticket", re.IGNORECASE)
#: Names of settings that hold a secret themselves; `key_variable`, `max_tokens` and `tokenizer` do not.
_SETTING = re.compile(
    r"(.*_)?(api_?keys?|access_?key(_id)?|secret(_?key)?s?|account_?key|private_?key|subscription_?key"
    r"|pass(words?|wd|phrase)?|pwd|auth|bearer|(access|auth|bearer|refresh|session|security|id|hf|api|sas)?_?token"
    r"|authorization|credentials?|cookie"
    r"|connection_?string|signature|key)",
    re.IGNORECASE,
)
#: Names of settings that hold a secret even if it is a number, as YAML reads a password of digits.
_SECRET_NUMBER = re.compile(r"(.*_)?(api_?keys?|secret(_?key)?s?|passwords?|passwd|passphrase|pwd)", re.IGNORECASE)
#: Place of a missing `_` in names such as `clientSecret`.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: An address in a text. The user's part may hold anything but `/`, `?`, `#`, quotes and spaces. A path makes one slash
#: of two.
_ADDRESS = re.compile(
    r"""(?P<scheme>\b[a-z][a-z0-9+.-]*:)(?P<slashes>//|\\/\\/|/(?=[^\s/?#@]*@))(?P<rest>[^\s"'<>`|]+)""", re.IGNORECASE
)
#: A header as it stands in a text.
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
#: A pair outside of an address, such as `/shards?sig=abc` in an error, or `api_key=abc`.
_PAIR = re.compile(
    r"(?i)(?P<name>[?&;](?:amp;)?[\w.$~%+-]+|\b(?:x-amz-[\w-]+|api[-_]?key|access[-_]?token|signature|password|passwd|secret))"
    r"=(?P<value>[^\s&;\"'<>,)\]}]+?)(?=[:.]*(?:[\s&;\"'<>,)\]}]|$))"
)


def without_secrets(text: str) -> str:
    """Return a text whose addresses show neither users and passwords nor the values of unknown query parameters.

    Args:
        text: Address, or any text with addresses in it.

    Returns:
        The text with `***` in place of what may be secret.

    Example:
        >>> without_secrets("at https://me:pw@host/v1?api-version=2&sig=abc: 404")
        'at https://***@host/v1?api-version=2&sig=***: 404'
    """
    shown = _ADDRESS.sub(_hide_address, text)
    shown = _PAIR.sub(lambda match: match[0] if _is_shown(match["name"]) else f"{match['name']}={HIDDEN}", shown)
    return _BEARER.sub(lambda match: f"{match[1]} {HIDDEN}", shown)


def settings_without_secrets(value: Any, name: str = "") -> Any:
    """Return settings whose texts are without secrets, and whose entries with names such as `api_key` are hidden.

    Args:
        value: Nested mappings, lists and other values, which are returned as they are.
        name: Name of the setting.

    Example:
        >>> settings_without_secrets({"url": "s3://a:b@c", "key_variable": "KEY", "headers": {"api-key": "x"}})
        {'url': 's3://***@c', 'key_variable': 'KEY', 'headers': {'api-key': '***'}}
    """
    if isinstance(value, Mapping):
        return {key: settings_without_secrets(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        shown = [settings_without_secrets(each, name) for each in value]
        return shown if isinstance(value, list) else tuple(shown)
    words = _HUMP.sub("_", name).replace("-", "_")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return HIDDEN if _SECRET_NUMBER.fullmatch(words) else value
    if not isinstance(value, str):
        return value
    return HIDDEN if value and _SETTING.fullmatch(words) else without_secrets(value)


def hold_secrets(arguments: Sequence[str]) -> bool:
    """Tell whether a command line holds a secret: in an address, or as the value of an option such as `--x.api_key`.

    Args:
        arguments: Words of the command line.

    Example:
        >>> hold_secrets(["--model.parameters", "{api_key: abc}"]), hold_secrets(["--model.api_key", "abc"])
        (True, True)
        >>> hold_secrets(["--model.key_variable", "KEY", "--seed", "1"])
        False
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, text = argument.partition("=")
        try:
            value = yaml.safe_load(text if equals else following)
        except (yaml.YAMLError, ValueError):
            value = text if equals else following
        settings = {name.rpartition(".")[2].lstrip("-"): value} if name.startswith("-") else {}
        if without_secrets(argument) != argument or settings_without_secrets(settings) != settings:
            return True
    return False


def address_identity(address: str) -> str:
    """Return an address without its secrets, for comparing endpoints: a new key does not make another one.

    Unlike `without_secrets` it keeps query parameters of unknown names; hash the result before storing it.

    Args:
        address: Address.

    Example:
        >>> address_identity("https://me:pw@host/v1?tier=2&sig=abc")
        'https://host/v1?tier=2'
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return address
    before, authority, path, query = _parts(match["rest"])
    del before
    kept = [pair for pair in query.split("&") if pair and not _SECRET.search(unquote_plus(pair.partition("=")[0]))]
    return f"{match['scheme']}//{authority}{path}{'?' if kept else ''}{'&'.join(kept)}"


def secrets_of(address: str) -> list[str]:
    """Return the secret parts of an address, so that they can be removed from texts of other programs.

    Args:
        address: Address.

    Example:
        >>> secrets_of("https://me:pw@host/v1?sig=a%2Fb")
        ['me:pw', 'pw', 'a%2Fb', 'a/b']
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return []
    user, _, _, query = _parts(match["rest"])
    found = [user, user.partition(":")[2]]
    pairs = [pair.partition("=") for pair in query.split("&")]
    found += [value for name, _, value in pairs if not _is_shown(name)]
    found = [spelling for secret in found if secret for spelling in (secret, unquote(secret))]
    return list(dict.fromkeys(found))


def _hide_address(match: re.Match[str]) -> str:
    user, authority, path, query = _parts(match["rest"])
    # What follows an address in a sentence, such as `: 404`, would be taken for a part of its last value.
    query, tail = re.fullmatch(r"(.*?)([:,.;)\]}\\]*)", query, re.DOTALL).groups()  # type: ignore[union-attr] # matches
    pairs = [pair.partition("=") for pair in re.split(r"&(?:amp;)?", query)] if query else []
    shown = "&".join(f"{n}{eq}{v if not eq or _is_shown(n) else HIDDEN}" for n, eq, v in pairs)
    hidden = f"{HIDDEN}@" if user else ""
    return f"{match['scheme']}{match['slashes']}{hidden}{authority}{path}{'?' if query else ''}{shown}{tail}"


def _parts(rest: str) -> tuple[str, str, str, str]:
    """Return user, host, path and query of what follows the `//` of an address; a fragment belongs to the query."""
    place = re.match(r"[^/?#\\]*", rest)
    authority = place[0] if place else ""
    user, at, host = authority.rpartition("@")
    # A password may hold a slash or a question mark, although it should not: `me:a/b@host`. A port has digits only.
    later = (rest.partition("?")[0] if at else rest).rfind("@")
    if later >= len(authority) and (at or re.search(r":(?!\d*$)", re.sub(r"^\[[^]]*\]", "", authority))):
        authority = rest[: later + 1] + re.match(r"[^/?#\\]*", rest[later + 1 :])[0]  # type: ignore[index] # matches
        user, _, host = authority.rpartition("@")
    path, mark, query = rest[len(authority) :].partition("?")
    if not mark and "#" in path:  # fragments of signed pages, such as `#access_token=...`
        path, _, query = path.partition("#")
    return user, host, path, query


def _is_shown(name: str) -> bool:
    return unquote_plus(name.lstrip("?&;").removeprefix("amp;")).lower().replace("_", "-") in _SHOWN

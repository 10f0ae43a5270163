"""Which failures of an endpoint pass, and how long to wait for that."""

import json
import random
import time
from email.utils import parsedate_to_datetime

from lightning_vista.optional import require

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
#: An endpoint that asks to wait for longer, in seconds, has nothing more to give today.
_LONGEST_ASKED = 600.0


class EmptyReplyError(ValueError):
    """A reply that says it went well but holds no message."""


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later: rate limits, faults of the server, lost or garbled replies."""
    openai = require("openai", extra="vlm")
    if isinstance(error, openai.APIStatusError):
        if (_retry_after(error) or 0.0) > _LONGEST_ASKED:
            return False
        # An account without money meets the same status as one that is too fast.
        return error.code != "insufficient_quota" and (error.status_code in (408, 409, 429) or error.status_code >= 500)
    lost = (openai.APIConnectionError, openai.APIResponseValidationError)
    return isinstance(error, (*lost, json.JSONDecodeError, EmptyReplyError, TimeoutError))


def is_rate_limit(error: Exception) -> bool:
    """Whether the endpoint was asked too fast."""
    return getattr(error, "status_code", None) == 429


def is_content_filter(error: Exception) -> bool:
    """Whether a filter before the model declined the request, which some endpoints report as an error."""
    return getattr(error, "code", None) in ("content_filter", "content_policy_violation")


def seconds_to_wait(error: Exception, failures: int) -> float:
    """How long to wait: what the endpoint asks for, else twice as long each time.

    Args:
        error: The failure.
        failures: How often the request has failed, this time included.

    Returns:
        Seconds, with some chance in them, so that requests that failed together do not come back together.
    """
    asked = _retry_after(error)
    if asked is not None:
        return asked
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (failures - 1)) * random.uniform(0.75, 1.25)


def _retry_after(error: Exception) -> float | None:
    """The header `Retry-After`, in seconds or as a date."""
    value = getattr(getattr(error, "response", None), "headers", {}).get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None

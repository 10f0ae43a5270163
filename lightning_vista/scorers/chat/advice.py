"""Advice on a request that an endpoint refused: the option that helps."""

import re

_IMAGES = r"(images?|pictures?|multimodal)"
_TOO_MANY = r"(at most|maximum|too many|exceed\w*|limit\w*)"
#: What endpoints say, without regard to case -> the option that helps; the first match counts.
_ADVICE = {
    # "Use 'max_completion_tokens' instead" names the refused field too, so it comes before that.
    r"use ['\"`]?max_completion_tokens": (
        "Set `max_tokens` of the scorer, which is sent under that name, and not in `parameters`."
    ),
    r"max_completion_tokens": (
        "Set `max_tokens: null` and `parameters: {max_tokens: 2048}`, for endpoints that know only the older name."
    ),
    r"(context|prompt|input)[ _]?(length|window|is too long)|too many (input )?tokens|maximum context": (
        "The request is too long: lower `num_frames` or `size`, or set `detail: low`."
    ),
    r"too large|too big|payload|dimension|image size|megabyte|\d ?MB\b": (
        "The frames are too large: lower `size`, `num_frames` or `jpeg_quality`."
    ),
    rf"{_TOO_MANY}\W.{{0,40}}{_IMAGES}|{_IMAGES}\W.{{0,40}}(at most|too many|exceed)": (
        "Lower `num_frames`; a vLLM server takes more images with --limit-mm-per-prompt '{\"image\": 16}'."
    ),
    r"not support image|image input|not a multimodal|vision": "Give a `model` that takes images.",
    r"max_tokens|max_output_tokens|budget_tokens": (
        "Set another `max_tokens`; with a reasoning model it covers the thoughts too, so it must be above their budget "
        "in `parameters`."
    ),
    r"temperature|top_p": "Set `temperature: null` for models that do not take one, as many reasoning models.",
    r"response_format|schema|output_config": "Set `json_schema: false`.",
    r"reasoning|thinking": (
        "Change the reasoning in `parameters`, such as `{reasoning_effort: low}`, or leave it out."
    ),
    r"['\"`]seed\b": "Set `seed: null`.",
    r"['\"`]?detail['\"`]": "Set `detail: auto`.",
}


def advise(status: int | None, said: str, key_variable: str | None) -> str:
    """Return what to do about a request that an endpoint did not answer.

    Args:
        status: HTTP status of the answer; None if none came.
        said: Words of the error.
        key_variable: Name of the environment variable that holds the key; None if no key was sent.

    Returns:
        A sentence that names the option that helps.

    Example:
        >>> advise(400, "Unsupported value: 'temperature' does not support 0.7 with this model.", "KEY")
        'Set `temperature: null` for models that do not take one, as many reasoning models.'
    """
    if status in (401, 403):
        if key_variable is None:
            return "Name the environment variable that holds its key as `key_variable`."
        return f"Check the key in {key_variable}."
    if status == 404:
        return "Check `model` and `base_url`."
    if status == 402:
        return "Add credit to the account; answered requests are not sent again."
    if status in (400, 413, 422):
        matching = (option for pattern, option in _ADVICE.items() if re.search(pattern, said, re.IGNORECASE))
        usual = "Check the fields it names; `json_schema: false` and `temperature: null` omit these two."
        return next(matching, "The frames are too large: lower `size` or `num_frames`." if status == 413 else usual)
    return "Run the same command again later; answered requests are not sent again."

"""Parameters of a chat completion: the known ones, and those that are ours to set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from safetycatch.configuration import nearest
from safetycatch.errors import ExperimentError

if TYPE_CHECKING:
    from safetycatch.experiment.model import Candidate

# Chat-completion parameters of the OpenAI shape, and what its open servers (vLLM, llama.cpp, Ollama) add.
# Source: platform.openai.com/docs/api-reference/chat/create; docs.vllm.ai "OpenAI-compatible server".
KNOWN_PARAMS = frozenset(
    {
        "chat_template_kwargs",
        "extra_body",
        "frequency_penalty",
        "guided_choice",
        "guided_json",
        "guided_regex",
        "ignore_eos",
        "length_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "min_p",
        "min_tokens",
        "num_ctx",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "repetition_penalty",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
RESERVED_PARAMS = {
    "model": "set by 'model'",
    "messages": "made from 'prompt'",
    "n": "use runs: {replicates: N}",
    "stream": "answers are read whole",
}
# The highest cost of a call is known because these are; a server would take them from 'extra_body' as well.
CEILING_PARAMS = ("max_completion_tokens", "max_tokens")


def check_params(candidate: Candidate, place: str) -> None:
    """Refuse parameters that are unknown, ours to set, or not JSON. Raises: ExperimentError."""
    extra = candidate.params.get("extra_body", {})
    if not isinstance(extra, dict):
        raise ExperimentError(
            f"found {extra!r}"[:120], where=f"{place}.params.extra_body", expected="keys and values of the server's own"
        )
    hidden = next((key for key in extra if key in RESERVED_PARAMS or key in CEILING_PARAMS), None)
    if hidden is not None:
        raise ExperimentError(
            f"{hidden!r} inside 'extra_body'",
            where=f"{place}.params.extra_body.{hidden}",
            expected=RESERVED_PARAMS.get(hidden, "under 'params': the highest cost of a call is known by it"),
        )
    for key in CEILING_PARAMS:
        value = candidate.params.get(key, 1)
        if type(value) is not int or value < 1:
            raise ExperimentError(
                f"found {value!r}"[:120], where=f"{place}.params.{key}", expected="a whole number from 1 up"
            )
    for key in candidate.params:
        if key in RESERVED_PARAMS:
            raise ExperimentError(
                f"the parameter {key!r}", where=f"{place}.params.{key}", expected=RESERVED_PARAMS[key]
            )
        if key not in KNOWN_PARAMS:
            close = nearest(key, KNOWN_PARAMS)
            raise ExperimentError(
                f"unknown parameter {key!r}",
                where=f"{place}.params.{key}",
                expected="a chat-completion parameter; a server's own goes under 'extra_body'",
                fix=f"did you mean {close!r}?" if close else f"extra_body: {{{key}: …}}",
            )
    try:
        json.dumps(candidate.params, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ExperimentError(f"a value without a JSON form: {error}", where=f"{place}.params") from None

"""Choosing the examples a prompt shows, and writing the prompt."""

from safetycatch.fewshot.fences import FENCE_RULE, fence
from safetycatch.fewshot.prompts import (
    Message,
    Prompt,
    check_prompt,
    fields_of,
    labels_of,
    load_prompt,
    make_prompt,
    render,
)
from safetycatch.fewshot.selection import Demonstrations, ShotFault, select, verify_shots

__all__ = [
    "FENCE_RULE",
    "Demonstrations",
    "Message",
    "Prompt",
    "ShotFault",
    "check_prompt",
    "fence",
    "fields_of",
    "labels_of",
    "load_prompt",
    "make_prompt",
    "render",
    "select",
    "verify_shots",
]

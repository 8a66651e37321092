"""Model families by name: who made a model, as far as its name tells."""

from __future__ import annotations

import re

# The makers' own names of their models; what is not listed is its own family, by the first word of its name.
_FAMILIES = (
    ("openai", r"gpt|chatgpt|o[1-9]\b|davinci|codex"),
    ("anthropic", r"claude"),
    ("google", r"gemini|gemma|palm|bison"),
    ("meta", r"(?:meta-)?llama"),
    ("mistral", r"mistral|mixtral|ministral|codestral|magistral|pixtral|devstral"),
    ("alibaba", r"qwen|qwq|qvq"),
    ("deepseek", r"deepseek"),
    ("microsoft", r"phi(?![a-z])|wizardlm"),
    ("cohere", r"command|aya|c4ai"),
    ("xai", r"grok"),
    ("amazon", r"nova|titan"),
    ("zhipu", r"glm|chatglm"),
    ("moonshot", r"kimi|moonshot"),
    ("nvidia", r"nemotron"),
    ("ibm", r"granite"),
    ("ai21", r"jamba|jurassic"),
    ("tii", r"falcon"),
)
_WORD = re.compile(r"[a-z]+[0-9]*")


def family_of(model: str) -> str:
    """Return the family of a model by its name alone: provider, path and date do not count.

    A fine-tune named after its base (`ft:gpt-4o-mini:…`, `my-llama-3`) belongs to the base's family. Of an unknown name
    the first word is the family; "" for a name without letters.
    """
    name = model.lower().removeprefix("ft:")
    own = name.rsplit("/", 1)[-1].rsplit(".", 1)[-1] if name.startswith("bedrock/") else name.rsplit("/", 1)[-1]
    for family, pattern in _FAMILIES:
        if re.search(rf"(?:^|[^a-z0-9])(?:{pattern})", own):
            return family
    found = _WORD.search(own)
    return re.sub(r"[0-9]+$", "", found[0]) if found else ""

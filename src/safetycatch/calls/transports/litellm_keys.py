"""Which providers LiteLLM knows, and which key it would look for in vain: told before a call is paid."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from safetycatch.calls.model_list import providers
from safetycatch.calls.transports.litellm import load
from safetycatch.calls.transports.litellm_parameters import MADE_UP
from safetycatch.configuration import nearest
from safetycatch.errors import InputError

if TYPE_CHECKING:
    from safetycatch.project import Address

# Servers of one's own, which seldom ask for a key.
KEYLESS = frozenset({"hosted_vllm", "llamafile", "lm_studio", "ollama", "ollama_chat", "vllm", "xinference"})
_KEY = re.compile(r"_(?:API_KEY|API_TOKEN|TOKEN|KEY)$")


def check_provider(model: str, where: str) -> None:
    """Refuse a `provider/model` whose provider neither the bundled list nor LiteLLM knows.

    LiteLLM is imported (seconds of CPU) only for one that the list does not have.
    Raises: InputError naming the nearest provider.
    """
    provider = model.partition("/")[0]
    known = providers() | MADE_UP | KEYLESS
    if provider in known:
        return
    known |= {str(getattr(one, "value", one)) for one in load().provider_list}
    if provider in known:
        return
    close = nearest(provider, sorted(known))
    raise InputError(
        f"no provider is called {provider[:60]!r}",
        where=where,
        expected="provider/model as LiteLLM names it, or {endpoint: NAME, model: name} for a server of your own",
        fix=f"did you mean {close}/{model.partition('/')[2][:100]}?" if close else "safetycatch doctor",
    )


def require_litellm_key(address: Address) -> None:
    """Refuse to start where LiteLLM would find no key for a hosted provider.

    A provider that was moved, or that takes credentials other than a key, is left to its first call.
    Raises: InputError naming the variable.
    """
    if address.transport != "litellm" or address.key_env or address.base_url or address.name in KEYLESS:
        return
    # LiteLLM reads some keys under several names, of which it states one.
    stem = address.name.split("_", 1)[0].upper()
    if any(value and name.startswith(stem) and _KEY.search(name) for name, value in os.environ.items()):
        return
    missing: list[str] = load().validate_environment(address.model)["missing_keys"]
    if missing and all(name.endswith("_API_KEY") for name in missing):
        raise InputError(
            f"no key for {address.name}",
            expected=f"{' or '.join(missing)} in the environment",
            fix=f"export {missing[0]}=…",
        )

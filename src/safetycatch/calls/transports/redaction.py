"""Keys are read here and removed from everything that comes back."""

from __future__ import annotations

import base64
import logging
import os
import re
from urllib.parse import quote, urlsplit

from safetycatch.errors import UsageError

MASK = "[key]"
# A shared piece this long is no accident; shorter keys ("EMPTY") are no secrets.
PIECE = 8
MIN_FOREIGN_SECRET = 16
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)


def read_key(key_env: str | None) -> str | None:
    """Return the key in the environment variable `key_env`; None when the endpoint needs none.

    Raises: UsageError when the variable is empty or holds characters that no header can carry.
    """
    if key_env is None:
        return None
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise UsageError(f"{key_env} is not set", expected="the key of the endpoint", fix=f"export {key_env}=…")
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"{key_env} holds characters that are not part of a key", fix=f"export {key_env}=…")
    return key


def environment_secrets() -> list[str]:
    """Return the values of the environment variables that look like keys: other libraries may send those."""
    return [
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and len(value) >= MIN_FOREIGN_SECRET and not value.startswith("/")
    ]


def url_password(base_url: str | None) -> list[str]:
    """Return the password inside a base URL, if there is one."""
    password = urlsplit(base_url).password if base_url else None
    return [password] if password else []


class Redactor:
    """Removes secrets: whole from replies, and every piece of eight characters from the texts of errors."""

    def __init__(self, secrets: list[str]) -> None:
        forms: dict[str, None] = {}
        for secret in (secret for secret in secrets if len(secret) >= PIECE):
            forms[secret] = None
            forms[quote(secret, safe="")] = None
            # A longer text's base64 holds the key's at one of three offsets; the ragged ends are cut off.
            for offset in range(3):
                encoded = base64.b64encode(b"\0" * offset + secret.encode()).decode().rstrip("=")
                forms[encoded[4 if offset else 0 : -2]] = None
        self._forms = [form for form in forms if len(form) >= PIECE]
        self._bytes = [form.encode() for form in self._forms]
        self._pieces = {form[i : i + PIECE] for form in self._forms for i in range(len(form) - PIECE + 1)}

    def reply(self, raw: bytes) -> bytes:
        """Return a reply's bytes without any whole secret."""
        for form in self._bytes:
            if form in raw:
                raw = raw.replace(form, MASK.encode())
        return raw

    def text(self, text: str) -> str:
        """Return an error's text without any piece of a secret."""
        if not self._pieces:
            return text
        hidden = [False] * len(text)
        for start in range(len(text) - PIECE + 1):
            if text[start : start + PIECE] in self._pieces:
                hidden[start : start + PIECE] = [True] * PIECE
        out: list[str] = []
        for position, character in enumerate(text):
            if not hidden[position]:
                out.append(character)
            elif position == 0 or not hidden[position - 1]:
                out.append(MASK)
        return "".join(out)


class RedactedLogs(logging.Filter):
    """Keeps other libraries' loggers to warnings, and those without secrets and tracebacks."""

    def __init__(self, redactor: Redactor, names: tuple[str, ...]) -> None:
        super().__init__()
        self._redactor = redactor
        self._loggers = [logging.getLogger(name) for name in names]

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact `record`; always keeps it."""
        record.msg, record.args = self._redactor.text(record.getMessage()), ()
        record.exc_info = record.exc_text = None
        return True

    def install(self) -> None:
        """Begin to redact; the levels stay raised, for another run may still use the loggers."""
        for logger in self._loggers:
            logger.setLevel(max(logger.level, logging.WARNING))
            logger.addFilter(self)

    def remove(self) -> None:
        """End this filter."""
        for logger in self._loggers:
            logger.removeFilter(self)

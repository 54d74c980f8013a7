"""Functions of strings: text, regular expressions, encodings and hashes.

The `regex` package evaluates regular expressions, because it has a time limit, and because it knows
what Java's patterns have and Python's `re` does not: possessive quantifiers and classes such as
``\\p{Lu}``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from creeklab.cloud.rules.sql.functions.function import Function
from creeklab.cloud.rules.sql.functions.md2 import md2
from creeklab.cloud.rules.sql.values import (
    MAX_SIZE,
    UNDEFINED,
    EvaluationStopped,
    Value,
    from_json,
    normalizer,
    to_floor,
    to_string,
)

if TYPE_CHECKING:
    from creeklab.cloud.rules.sql.functions.function import MessageContext

MAX_PADDING = 1000
REGEX_SECONDS = 0.05
_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
MAX_MD2_BYTES = 4_096  # in pure Python; 128 KB would take a second


def _texts(function: Callable[..., Value], *values: Value) -> Value:
    """Return a function of the string forms of values; Undefined if one has none."""
    texts = [to_string(value) for value in values]
    return UNDEFINED if UNDEFINED in texts else function(*texts)


def _pad(left: bool, value: Value, number: Value) -> Value:
    text, count = to_string(value), to_floor(number)
    if text is UNDEFINED or count is UNDEFINED:
        return UNDEFINED
    spaces = " " * min(max(count, 0), MAX_PADDING)
    return spaces + text if left else text + spaces


def _replace(text: str, old: str, new: str) -> str:
    if old:
        _check_size(len(text) + text.count(old) * (len(new) - len(old)))
        return text.replace(old, new)
    _check_size(len(text) + (len(text) + 1) * len(new))
    return text.replace(old, new)


def _substring(value: Value, start: Value, end: Value = None) -> Value:
    text, first = to_string(value), to_floor(start)
    if text is UNDEFINED or first is UNDEFINED:
        return UNDEFINED
    last = len(text) if end is None else to_floor(end)
    if last is UNDEFINED:
        return UNDEFINED
    return text[max(first, 0) : max(last, 0)]


def _chr(value: Value) -> Value:
    code = to_floor(value)
    return chr(code) if code is not UNDEFINED and 0 <= code < 128 else UNDEFINED


# --- regular expressions --------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _pattern(text: str) -> Any:
    # Imported here: most rules have no regular expression, and the import takes time.
    import regex

    # Java's \Q...\E quotes a part of a pattern.
    text = re.sub(r"\\Q(.*?)(?:\\E|$)", lambda quoted: regex.escape(quoted[1]), text, flags=re.S)
    try:
        return regex.compile(text, regex.VERSION0)
    except (regex.error, RecursionError, OverflowError, MemoryError):
        return None


def _regex(use: Callable[..., Value], text: str, pattern: str, *more: str) -> Value:
    compiled = _pattern(pattern)
    if compiled is None:
        return UNDEFINED
    try:
        return use(compiled, text, *more)
    except TimeoutError:
        raise EvaluationStopped(
            f"The regular expression '{pattern}' takes longer than {REGEX_SECONDS * 1000:.0f} ms. "
            "Simplify it: nested repetitions such as (a+)+ are slow."
        ) from None


def _matches(pattern: Any, text: str) -> bool:
    return pattern.search(text, timeout=REGEX_SECONDS) is not None


def _first_match(pattern: Any, text: str) -> Value:
    found = pattern.search(text, timeout=REGEX_SECONDS)
    return UNDEFINED if found is None else found[0]


def _replace_matches(pattern: Any, text: str, replacement: str) -> Value:
    """Replace all matches; ``$1`` stands for a group, and a backslash quotes a character."""
    parts = re.split(r"(\\.|\$\d)", replacement, flags=re.DOTALL)
    size = 0

    def expand(found: Any) -> str:
        nonlocal size
        result = ""
        for part in parts:
            if part[:1] == "$" and len(part) == 2:
                result += found[int(part[1])] or ""
            else:
                result += part[1:] if part[:1] == "\\" else part
        size += len(result)
        _check_size(size)
        return result

    try:
        return pattern.sub(expand, text, timeout=REGEX_SECONDS)
    except IndexError:  # a group that the pattern does not have
        return UNDEFINED


# --- encodings ------------------------------------------------------------------------------------


def encode(value: Value, scheme: Value) -> Value:
    """Return the Base64 form of a string, or of the payload's bytes."""
    text = value if isinstance(value, bytes) else to_string(value)
    if text is UNDEFINED or scheme != "base64":
        return UNDEFINED
    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    return base64.b64encode(data).decode()


def _decode(message: MessageContext, version: str, value: Value, scheme: Value) -> Value:
    text = to_string(value)
    if text is UNDEFINED or scheme != "base64":
        return UNDEFINED
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    try:
        return from_json(decoded, normalizer(version))
    except ValueError:
        return decoded


def _hash(name: str, text: str) -> str:
    return hashlib.new(name, text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _md2(text: str) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_MD2_BYTES:
        raise EvaluationStopped(f"md2() accepts at most {MAX_MD2_BYTES} bytes here.")
    return md2(data)


def _check_size(size: int) -> None:
    if size > MAX_SIZE:
        raise EvaluationStopped(f"A string has more than {MAX_SIZE} characters.")


_ONE_TEXT: dict[str, Callable[[str], Value]] = {
    "lower": str.lower,
    "upper": str.upper,
    "trim": str.strip,
    "ltrim": str.lstrip,
    "rtrim": str.rstrip,
    "md2": _md2,
    **{name: partial(_hash, name) for name in _HASHES},
}

FUNCTIONS = {
    **{name: Function(partial(_texts, f), 1, 1) for name, f in _ONE_TEXT.items()},
    "length": Function(partial(_texts, len), 1, 1, needs_2016=True),
    "numbytes": Function(
        partial(_texts, lambda text: len(text.encode("utf-8", "replace"))), 1, 1, needs_2016=True
    ),
    "startswith": Function(partial(_texts, str.startswith), 2, 2),
    "endswith": Function(partial(_texts, str.endswith), 2, 2),
    "indexof": Function(partial(_texts, str.find), 2, 2, needs_2016=True),
    "lpad": Function(partial(_pad, True), 2, 2),
    "rpad": Function(partial(_pad, False), 2, 2),
    "replace": Function(partial(_texts, _replace), 3, 3),
    "substring": Function(_substring, 2, 3),
    "chr": Function(_chr, 1, 1),
    "regexp_matches": Function(partial(_texts, partial(_regex, _matches)), 2, 2),
    "regexp_substr": Function(partial(_texts, partial(_regex, _first_match)), 2, 2),
    "regexp_replace": Function(partial(_texts, partial(_regex, _replace_matches)), 3, 3),
    "encode": Function(encode, 2, 2, needs_2016=True),
    "decode": Function(_decode, 2, 2, needs_2016=True, needs_message=True),
}

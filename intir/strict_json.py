"""JSON from outside: no floats, no NaN, no key twice, no integer beyond 64 bits, no deep nesting, no half characters."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from .errors import FileFormatError


def _refuse(text: str) -> NoReturn:
    raise FileFormatError(f"it holds the number {text[:40]}; only integers of up to 19 digits are allowed")


def _integer(text: str) -> int:
    return int(text) if len(text) <= 20 else _refuse(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise FileFormatError("it has a key twice in one object; remove one")
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_refuse, parse_constant=_refuse)


def parse(text: str, where: str) -> Any:
    """The value of a JSON text.  Raises FileFormatError, which names `where`."""
    value, end = parse_prefix(text, 0, where)
    if text[end:].strip():
        raise FileFormatError(f"{where}: {text[end:].strip()[:40]!r} follows the end of the JSON; remove it")
    return value


def parse_prefix(text: str, start: int, where: str) -> tuple[Any, int]:
    """The value that starts at a position, and where it ends.  Raises FileFormatError."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        # An escape like \ud800 alone makes text that nothing can print or write.
        if "\\u" in text[start:end]:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value, end
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where} is no valid JSON ({str(error)[:100]}); get an undamaged copy") from None
    except FileFormatError as error:
        raise FileFormatError(f"{where}: {error}") from None

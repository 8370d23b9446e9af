"""Tables in CSV files, read strictly: every mistake is one sentence with its file, its line and the offending cell."""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from intir import BIPOLAR, BitwrightError, GraphError, IntType, signed, unsigned

#: No size in a table may be greater.
MOST = 2**24
#: Nor may a layer's multiply-accumulates: counts of cycles, bytes and bits then fit 64 bits.
MOST_MACS = 2**46


class TableError(BitwrightError):
    """A table has a column or a cell that cannot be."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a known word is near, else nothing."""
    found = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"; did you mean '{found[0]}'?" if found else ""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Parameters
    ----------
    where : str
        File and line, for errors.
    cells : column -> text, without those that are empty
    """

    where: str
    cells: Mapping[str, str]

    def error(self, column: str, problem: str) -> TableError:
        """What is wrong with a cell."""
        cell = f" '{self.cells[column][:60]}'" if column in self.cells else ""
        return TableError(f"{self.where}: {column}{cell} {problem}")

    def has(self, column: str) -> bool:
        """Whether a cell holds anything."""
        return column in self.cells

    def text(self, column: str, default: str | None = None) -> str:
        """A cell as it stands.  Raises TableError where it is empty and there is no default."""
        if column in self.cells:
            return self.cells[column]
        if default is None:
            raise self.error(column, "is empty; fill it in")
        return default

    def choice(self, column: str, words: Sequence[str]) -> str:
        """One of some words."""
        word = self.text(column)
        if word not in words:
            raise self.error(column, f"is none of {', '.join(words)}{nearest(word, words)}")
        return word

    def number(self, column: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number, `least` to `MOST`."""
        if default is not None and column not in self.cells:
            return default
        return self._whole(column, self.text(column), least)

    def pair(self, column: str, default: tuple[int, int] | None = None, *, least: int = 1) -> tuple[int, int]:
        """Height and width as ``1x7``, or one number for both."""
        if default is not None and column not in self.cells:
            return default
        parts = self.text(column).split("x")
        if len(parts) > 2:
            raise self.error(column, "is no size; write one number, or height x width as 1x7")
        return self._whole(column, parts[0], least), self._whole(column, parts[-1], least)

    def _whole(self, column: str, text: str, least: int) -> int:
        text = text.strip()
        if not re.fullmatch(r"-?[0-9]{1,12}", text) or not least <= int(text) <= MOST:
            raise self.error(column, f"is no whole number from {least} to 2**24; mend it")
        return int(text)

    def real(self, column: str) -> float:
        """A number above zero."""
        try:
            value = float(self.text(column))
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise self.error(column, "is no number above 0; mend it")
        return value

    def check_macs(self, column: str, macs: int) -> None:
        """Raise TableError for a layer that is absurdly large."""
        if macs > MOST_MACS:
            raise self.error(column, f"makes a layer of {macs:.3g} multiply-accumulates; mend a size, at most 2**46 are taken")

    def fraction(self, column: str) -> float:
        """A share from above 0 to 1; 1 where the cell is empty."""
        value = self.real(column) if column in self.cells else 1.0
        if value > 1:
            raise self.error(column, "is no share; give a number above 0 and up to 1")
        return value

    def type(self, column: str, *, activations: bool) -> IntType:
        """A type, from its bits or its name.

        Bits make unsigned activations and signed weights, one bit bipolar ones; names are those of `intir.IntType.parse`.
        """
        text = self.text(column)
        if text == "1":
            return BIPOLAR
        if re.fullmatch(r"[0-9]{1,2}", text) and 2 <= int(text) <= 32:
            return unsigned(int(text)) if activations else signed(int(text))
        try:
            return IntType.parse(text)
        except GraphError:
            raise self.error(column, "is no type; write a number of bits from 1 to 32, or bipolar, ternary, u4, s8") from None


def rows_of(text: str, where: str, needed: Sequence[str], columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a table below its header; lines that are empty or start with ``#`` are for people.

    Raises
    ------
    TableError
        If a column is unknown, missing or twice there, or a row is longer than the header.
    """
    header: list[str] | None = None
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip() or content.lstrip().startswith("#"):
            continue
        at = f"{where}, line {line}"
        try:
            cells = [cell.strip() for cell in next(csv.reader([content], skipinitialspace=True, strict=True))]
        except csv.Error as error:
            raise TableError(f"{at} is no row of a CSV file ({error}); mend its quotes") from None
        if header is None:
            header = cells
            _check_header(header, at, needed, columns)
            continue
        if any(cells[len(header):]):
            raise TableError(f"{at} has {len(cells)} cells, but the header names {len(header)} columns; take out the commas "
                             "that are too many")
        yield Row(at, {name: cell for name, cell in zip(header, cells, strict=False) if cell})
    if header is None:
        raise TableError(f"{where} is empty; start with a header: {', '.join(needed)}")


def _check_header(header: list[str], at: str, needed: Sequence[str], columns: Sequence[str]) -> None:
    counts = Counter(header)
    for name in header:
        if name not in columns:
            raise TableError(f"{at}: there is no column '{name[:60]}'{nearest(name, columns)}; there are {', '.join(columns)}")
        if counts[name] > 1:
            raise TableError(f"{at}: the column '{name}' is there twice; take one out")
    missing = [name for name in needed if name not in header]
    if missing:
        raise TableError(f"{at}: the column '{missing[0]}' is missing; the header needs {', '.join(needed)}")

"""Which encoding a text is in that is not UTF-8, told by what its bytes would be as letters.

Nothing in a file of 256 signs says which ones they are; a guess is taken only where the letters that come out stand as
letters stand in words, and it is always told.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bascule.lake.sources import text

SAMPLED = 1 << 16  # bytes of lines with other signs than ASCII
LIKELY = 0.9  # the share of signs that must stand where such signs stand
FEW = 4  # signs of a script beyond which its words count

_HIGH = re.compile(rb"[\x80-\xff]+")
_VALID = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_MARKS = "€£¥§°©®™«»‘’“”„‚–—…·•¿¡²³µ½¼¾ºª†\xa0№"
_WESTERN = "éèêëàâäáãåæçíìîïñóòôöõøœúùûüßÿþðš"
_WORDS = "àÀôéèêáíîóæøåö"  # letters that are words
_CENTRAL = "ąćęłńóśźżčďěňřšťůýžáéíúäöüőűâăîșțşţđ"
_CYRILLIC = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"
_GREEK = "αοιετσνηυρπκμλςδγχθωάέήίόύώβφξζψ"


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding that a text may be in.

    Attributes:
        name: as Python knows it.
        title: what is written in it.
    """

    name: str
    title: str


def find(path: Path) -> Encoding | None:
    """Return the encoding of a text file that is not UTF-8; None for UTF-8, also with some broken signs, and where no
    encoding makes words of it.

    The whole file is read, in pieces; a compressed one is decompressed.
    """
    with text.opened(path) as source:
        start = source.read(1 << 16)
    if wide := _wide(start):
        return wide
    if is_utf8(path):
        return None
    sample = b"\n".join(_other_lines(path))
    high = sum(len(found) for found in _HIGH.findall(sample))
    if 2 * sum(len(found) for found in _VALID.findall(sample)) > high:
        return None  # it is UTF-8 with some broken signs
    return _of_pairs(sample) or _of_words(sample)


def is_utf8(path: Path) -> bool:
    """Tell whether all of a file is UTF-8."""
    rest = b""
    with text.opened(path) as source:
        while piece := source.read(1 << 22):
            piece = rest + piece
            rest = b""
            if piece.isascii():
                continue
            try:
                piece.decode()
            except UnicodeDecodeError as error:
                if len(piece) - error.start > 3 or error.reason != "unexpected end of data":
                    return False
                rest = piece[error.start :]
    return not rest


def _other_lines(path: Path) -> list[bytes]:
    """Return the first lines that hold other signs than ASCII."""
    found, size = [], 0
    with text.opened(path) as source:
        for line in io.BufferedReader(source, 1 << 20):
            if not line.isascii():
                found.append(line)
                size += len(line)
                if size > SAMPLED:
                    break
    return found


def _wide(start: bytes) -> Encoding | None:
    """UTF-16 without its mark: every second byte of delimiters, digits and line ends is zero."""
    even, odd = start[0::2], start[1::2]
    if len(start) < 4 or (len(start) % 2 and len(start) < 1 << 16):
        return None
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        ends = start.decode(name, "ignore").count("\n")
        if (
            zeros.count(0) > 0.05 * len(zeros)
            and others.count(0) < 0.01 * len(others)
            and ends >= 0.9 * start.count(b"\n")
        ):
            return Encoding(name, "UTF-16 without its mark")
    return None


def _of_pairs(sample: bytes) -> Encoding | None:
    """The East Asian encodings, in which two bytes are a sign."""
    found: list[tuple[float, Encoding]] = []
    for name, title, is_common in _PAIRS:
        try:
            signs = [sign for sign in sample.decode(name) if sign > "\x7f"]
        except UnicodeDecodeError:
            continue
        words = sum(map(_is_east_asian, signs))
        if signs and len(signs) >= FEW and words >= LIKELY * len(signs):
            found.append((sum(map(is_common, signs)) / len(signs), Encoding(name, title)))
    found = [one for one in found if one[0] >= LIKELY - 0.05]
    return max(found, key=lambda one: one[0])[1] if found else None  # the first of equals


def _is_east_asian(sign: str) -> bool:
    return (
        "\u3000" <= sign <= "\u30ff" or "\u4e00" <= sign <= "\u9fff" or "\uac00" <= sign <= "\ud7a3" or sign > "\uff00"
    )


def _lead(encoding: str, low: int, high: int) -> Callable[[str], bool]:
    """Return what tells the common signs of an encoding: those whose first byte is in a range."""

    def is_common(sign: str) -> bool:
        if "\uff61" <= sign <= "\uff9f":  # kana of half width, which other bytes look like
            return False
        if "\u3000" <= sign <= "\u30ff" or "\uff01" <= sign <= "\uff5e":
            return True
        try:
            return low <= sign.encode(encoding)[0] <= high
        except UnicodeEncodeError:
            return False

    return is_common


_CHINESE = _lead("gb2312", 0xB0, 0xF7)
# What comes first wins where two make as much of it. Hangul lie in a part of what is common in Chinese, so Korean does.
_PAIRS = (
    ("cp949", "Korean", _lead("euc_kr", 0xB0, 0xC8)),
    ("cp932", "Shift-JIS, Japanese", _lead("cp932", 0x88, 0x97)),
    ("gb18030", "simplified Chinese", lambda sign: _CHINESE(sign) and not "\u3041" <= sign <= "\u30ff"),
    ("euc_jp", "EUC, Japanese", _lead("euc_jp", 0xB0, 0xCF)),
    ("big5", "traditional Chinese", _lead("big5", 0xA4, 0xC6)),
)


def _of_words(sample: bytes) -> Encoding | None:
    """The encodings in which one byte is a sign."""
    runs = [len(found) for found in _HIGH.findall(sample)]
    whole_words = sum(run for run in runs if run >= 3) > 0.6 * sum(runs)
    best: tuple[float, Encoding] | None = None
    for name, title, letters in _SCRIPTS if whole_words else _LATIN:
        try:
            decoded = sample.decode(name)
        except UnicodeDecodeError:
            continue
        fit = _fit(decoded, letters) if name in _PLAIN or any(sign.lower() in letters for sign in decoded) else 0.0
        if fit >= LIKELY and (best is None or fit > best[0] + 0.02):
            best = fit, Encoding(name, title)
    return best[1] if best else None


_SCRIPTS = (
    ("cp1251", "Cyrillic", _CYRILLIC),
    ("koi8-r", "Cyrillic", _CYRILLIC),
    ("cp866", "Cyrillic", _CYRILLIC),
    ("iso8859-5", "Cyrillic", _CYRILLIC),
    ("cp1253", "Greek", _GREEK),
)
_LATIN = (
    ("cp1252", "Western European", _WESTERN),
    ("latin-1", "Western European", _WESTERN),
    ("cp1250", "Central European", _CENTRAL),
    ("cp850", "Western European, DOS", _WESTERN),
    ("mac-roman", "Western European, old Macintosh", _WESTERN),
)


_PLAIN = ("cp1252", "latin-1")  # may hold marks alone, such as a sign of money


def _fit(decoded: str, letters: str) -> float:
    """Return the share of the signs beyond ASCII that stand as such signs do: letters of the language in words of one
    case, marks beside them."""
    good = total = 0
    for before, sign, after in zip(" " + decoded, decoded, islice(decoded + " ", 1, None), strict=False):
        if sign <= "\x7f":
            continue
        total += 1
        if sign in _MARKS:
            good += not (before.isalpha() and after.isalpha()) or sign in "’·"
        elif sign.lower() in letters:
            shouted = sign.isupper() and before.isalpha() and before.islower()
            alone = sign in _WORDS and before in ' ;,\t"' and after in ' ;,\t"\r\n'
            good += (before.isalpha() or after.isalpha() or alone) and not shouted
    return good / total if total else 0.0

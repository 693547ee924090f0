"""What texts are like: how long, in which language, with which words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

# Words that make up a tenth or more of any text in a language, and are rare in the others.
_COMMON = {
    "English": "the and of to is in that it was for with are this not you be",
    "German": "der die und das ist nicht ein eine zu den mit sich auf für dem ich",
    "French": "le la les des et est une dans que pour pas qui sur avec vous du",
    "Spanish": "el los las que una por con para es como pero más su del se al",
    "Italian": "il che di è per non una sono con della gli anche nel lo questo",
    "Portuguese": "o que não uma os com para por mais do da em como mas ao dos",
    "Dutch": "het een van en niet dat zijn op te met voor aan er ook maar wordt",
    "Swedish": "och att det som en på är av för inte med den till har om ett",
    "Polish": "i w na nie się że jest do to z jak ale po tak od dla przez",
    "Turkish": "ve bir bu için ile da de çok olarak daha gibi ne var kadar ama",
}
_KNOWN = {language: frozenset(words.split()) for language, words in _COMMON.items()}
_SCRIPTS = {
    "CYRILLIC": "Cyrillic script",
    "GREEK": "Greek",
    "ARABIC": "Arabic script",
    "HEBREW": "Hebrew",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "CJK": "Chinese or Japanese",
    "HANGUL": "Korean",
    "DEVANAGARI": "Devanagari script",
    "THAI": "Thai",
}
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
LEAST_SHARE = 0.08
FEWEST_WORDS = 5
LETTERS = 1_000


@dataclass
class Writings:
    """What was measured of some texts, each list as long as `paths`."""

    paths: list[str] = field(default_factory=list)
    characters: list[float] = field(default_factory=list)
    words: list[float] = field(default_factory=list)
    lines: list[float] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    vocabulary: Counter[str] = field(default_factory=Counter)
    files_with: Counter[str] = field(default_factory=Counter)
    blank: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def look(files: Iterable[tuple[str, bytes]]) -> Writings:
    """Measure texts in UTF-8 or UTF-16 (with its mark); what is neither is told as unreadable."""
    found = Writings()
    for path, content in files:
        text = _decoded(content)
        if text is None:
            found.unreadable.append((path, "it is not UTF-8"))
            continue
        words = [word.casefold() for word in _WORD.findall(text)]
        found.paths.append(path)
        found.characters.append(len(text))
        found.words.append(len(words))
        found.lines.append(len(text.splitlines()))
        found.blank += not text.strip()
        found.languages[language(text, words)] += 1
        found.vocabulary.update(words)
        found.files_with.update(set(words))
    return found


def language(text: str, words: list[str]) -> str:
    """Guess a text's language: by its script, or by whose commonest words it uses most; `unknown` when by none.

    Ten languages in Latin script are known. A short or mixed text is often unknown, and close relatives of the ten are
    taken for one of them.
    """
    script = _script(text)
    if script:
        return script
    if len(words) < FEWEST_WORDS:
        return "unknown"
    shares = {name: sum(word in known for word in words) / len(words) for name, known in _KNOWN.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= LEAST_SHARE else "unknown"


def _script(text: str) -> str:
    letters = [one for one in text[: 10 * LETTERS] if one.isalpha()][:LETTERS]
    if not letters:
        return ""
    counted = Counter(unicodedata.name(one, "").split(" ", 1)[0] for one in letters)
    if counted["HIRAGANA"] + counted["KATAKANA"] > 0.1 * len(letters):
        return "Japanese"
    name, count = counted.most_common(1)[0]
    return _SCRIPTS.get(name, "") if count > 0.5 * len(letters) else ""


def _decoded(content: bytes) -> str | None:
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        return None

"""Check digits: whether a text can be a number of its kind. Each takes a text without spaces and separators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

_VERHOEFF_D = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6]]
_VERHOEFF_D += [[3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8], [5, 9, 8, 7, 6, 0, 4, 3, 2, 1]]
_VERHOEFF_D += [[6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4]]
_VERHOEFF_D += [[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]
_VERHOEFF_P = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4], [5, 8, 0, 3, 7, 9, 6, 1, 4, 2]]
_VERHOEFF_P += [[8, 9, 1, 6, 0, 4, 3, 5, 2, 7], [9, 4, 5, 3, 1, 2, 6, 8, 7, 0], [4, 2, 8, 6, 5, 7, 3, 9, 0, 1]]
_VERHOEFF_P += [[2, 7, 9, 3, 8, 0, 6, 4, 1, 5], [7, 0, 4, 6, 9, 1, 3, 2, 5, 8]]
# Lengths of IBANs by country (the registry of ISO 13616).
IBAN = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip


def luhn(text: str) -> bool:
    """Luhn's check of a number."""
    digits = [int(one) for one in reversed(text)]
    return sum(d if n % 2 == 0 else sum(divmod(2 * d, 10)) for n, d in enumerate(digits)) % 10 == 0


def card(text: str) -> bool:
    """A payment card: 13 to 19 digits of a known network, with Luhn's check, and not all alike."""
    return 13 <= len(text) <= 19 and text[0] in "3456" + "2" and len(set(text)) > 1 and luhn(text)


def iban(text: str) -> bool:
    """An IBAN of a known country: its length, and 1 as the rest by 97."""
    if IBAN.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(one, 36)) for one in text[4:] + text[:4])) % 97 == 1


def weighted(text: str, weights: Sequence[int], modulus: int) -> int:
    """The weighted sum of digits, as rest."""
    return sum(int(one) * weight for one, weight in zip(text, weights, strict=False)) % modulus


def german_tax(text: str) -> bool:
    """The German Steuer-ID: ISO 7064 mod 11, 10; one digit of the first ten comes twice or three times."""
    counts = sorted(text[:10].count(one) for one in set(text[:10]))
    if text[0] == "0" or counts[-1] not in (2, 3) or (len(counts) > 1 and counts[-2] != 1):
        return False
    rest = 10
    for one in text[:10]:
        rest = (int(one) + rest) % 10 or 10
        rest = rest * 2 % 11
    return (11 - rest) % 10 == int(text[10])


def spanish(text: str) -> bool:
    """The Spanish DNI and NIE: a letter by the rest by 23."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def french(text: str) -> bool:
    """The French NIR: 97 less the rest by 97; Corsica's departments count as 19 and 18."""
    number = text[:-2].replace("2A", "19").replace("2B", "18")
    return text[0] in "1278" and number.isdigit() and 97 - int(number) % 97 == int(text[-2:])


def italian(text: str) -> bool:
    """The Italian codice fiscale: a letter from two tables."""
    odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]

    def worth(one: str) -> int:
        return int(one) if one.isdigit() else ord(one) - 65

    total = sum(odd[worth(one)] if n % 2 == 0 else worth(one) for n, one in enumerate(text[:15]))
    return chr(65 + total % 26) == text[15]


def dutch(text: str) -> bool:
    """The Dutch BSN: the eleven test."""
    return int(text) > 0 and weighted(text, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11) == 0


def british_health(text: str) -> bool:
    """The British NHS number: weights 10 to 2, modulus 11."""
    rest = 11 - weighted(text[:9], range(10, 1, -1), 11)
    return rest != 10 and rest % 11 == int(text[9]) and len(set(text)) > 1


def brazilian(text: str) -> bool:
    """The Brazilian CPF: two digits by modulus 11."""
    if len(set(text)) == 1:
        return False
    first = weighted(text[:9], range(10, 1, -1), 11)
    second = weighted(text[:10], range(11, 1, -1), 11)
    return [0 if rest < 2 else 11 - rest for rest in (first, second)] == [int(text[9]), int(text[10])]


def polish(text: str) -> bool:
    """The Polish PESEL: weights 1, 3, 7, 9; a day of birth in front."""
    month = int(text[2:4]) % 20
    total = weighted(text[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3), 10)
    return _is_day(month, int(text[4:6])) and (10 - total) % 10 == int(text[10])


def swedish(text: str) -> bool:
    """The Swedish personnummer: Luhn's check; a day of birth in front, plus 60 for people who came later."""
    short = text[-10:]
    return _is_day(int(short[2:4]), (int(short[4:6]) - 1) % 60 + 1) and luhn(short)


def norwegian(text: str) -> bool:
    """The Norwegian fødselsnummer: two digits by modulus 11; a day of birth in front, plus 40 for D numbers."""
    day = int(text[:2])
    first = weighted(text, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1), 11)
    second = weighted(text, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), 11)
    return _is_day(int(text[2:4]) % 40, day - 40 if day > 40 else day) and first == second == 0


def indian(text: str) -> bool:
    """The Indian Aadhaar: Verhoeff's check."""
    rest = 0
    for n, one in enumerate(reversed(text)):
        rest = _VERHOEFF_D[rest][_VERHOEFF_P[n % 8][int(one)]]
    return text[0] not in "01" and rest == 0


def chinese(text: str) -> bool:
    """The Chinese resident identity number: ISO 7064 mod 11, 2; a day of birth inside."""
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum((10 if one == "X" else int(one)) * 2 ** (17 - n) for n, one in enumerate(text))
    return born.year > 1850 and total % 11 == 1


def swiss(text: str) -> bool:
    """The Swiss AHV number: 756 in front, and the check digit of an EAN."""
    total = sum(int(one) * (3 if n % 2 else 1) for n, one in enumerate(text))
    return text.startswith("756") and total % 10 == 0


def belgian(text: str) -> bool:
    """The Belgian national number: 97 less the rest by 97, with 2 in front for people born from 2000 on."""
    number, check = text[:9], int(text[9:])
    return int(text[2:4]) <= 12 and check in (97 - int(number) % 97, 97 - int("2" + number) % 97)


def finnish(text: str) -> bool:
    """The Finnish henkilötunnus: a sign by the rest by 31; a day of birth in front."""
    letter = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(text[:6] + text[7:10]) % 31]
    return _is_day(int(text[2:4]), int(text[:2])) and letter == text[10]


def american(text: str) -> bool:
    """An American social security number has no check digit: only what was never given out is told apart."""
    area = int(text[:3])
    return area not in (0, 666) and area < 900 and text[3:5] != "00" and text[5:] != "0000"


def _is_day(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31

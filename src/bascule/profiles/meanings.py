"""What the values of a column mean, from its type, its name and how its values are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from uuid import UUID

from bascule.profiles.results import Numbers

# So much of the values must have a form.
ENOUGH = 0.95
FEW, MANY = 50, 1_000
LONG = 60


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Two-letter countries of ISO 3166-1, and the currencies of ISO 4217 that are traded most.
COUNTRIES_2 = _words(
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY "
    "BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK "
    "FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR "
    "IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK "
    "ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
    "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF "
    "TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
CURRENCIES = _words(
    "AED ARS AUD BDT BGN BHD BRL CAD CHF CLP CNY COP CZK DKK DZD EGP EUR GBP GEL GHS HKD HUF IDR ILS INR ISK JOD "
    "JPY KES KRW KWD KZT LBP LKR MAD MXN MYR NGN NOK NZD OMR PEN PHP PKR PLN QAR RON RSD RUB SAR SEK SGD THB TND "
    "TRY TWD TZS UAH UGX USD UYU VND XAF XOF ZAR"
)

_URL = re.compile(r"(https?|ftp|s3|gs)://[^\s/]+(/\S*)?", re.IGNORECASE)
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,24}")
_MONEY = re.compile(r"[-+]?\s?([$€£¥₹]|[A-Z]{3} )\s?\d[\d,. ]*|[-+]?\d[\d,. ]*\s?([$€£¥₹]|[A-Z]{3})")
_PERCENT = re.compile(r"[-+]?\d+([.,]\d+)?\s?%")
_PATH = re.compile(r"([A-Za-z]:)?[\\/]?([^\\/\s]+[\\/])+[^\\/\s]+\.\w{1,5}")
_HEX = re.compile(r"[0-9a-fA-F]{32,128}")
_PAIR = re.compile(r"\(?-?\d{1,3}\.\d+\s*[,; ]\s*-?\d{1,3}\.\d+\)?")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")
_JSON = re.compile(r"\s*[\[{].*[\]}]\s*", re.DOTALL)
_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-.+]\w+)*")

_MONEY_NAME = re.compile(
    r"(^|_)(price|cost|amount|revenue|salary|fee|fare|total|balance|income|wage|usd|eur|gbp|budget|tax|payment|tip|spend)"
    r"($|_)",
    re.IGNORECASE,
)
_SHARE_NAME = re.compile(
    r"(^|_)(pct|percent|percentage|ratio|rate|share|prob|probability|fraction|score)($|_)", re.IGNORECASE
)
_LATITUDE = re.compile(r"(^|_)lat(itude)?($|_)", re.IGNORECASE)
_LONGITUDE = re.compile(r"(^|_)(lon|lng|long|longitude)($|_)", re.IGNORECASE)
_ID_NAME = re.compile(r"(^|_)(id|uuid|guid|key|sku|isbn|ean|hash)$|[a-z](Id|ID|Key)$")
_YEAR_NAME = re.compile(r"(^|_)(year|yr)($|_)|_year$", re.IGNORECASE)
_COUNTRY_NAME = re.compile(r"country|nation|(^|_)cc($|_)", re.IGNORECASE)
_POSTAL_NAME = re.compile(r"(^|_)(zip|zipcode|zip_code|postal|postcode|postal_code|plz)($|_)", re.IGNORECASE)
_COUNT_NAME = re.compile(r"(^|_)(count|n|num|number_of|qty|quantity)($|_)", re.IGNORECASE)


def meaning(
    name: str, family: str, *, distinct: int, rows: int, values: Sequence[str], numbers: Numbers | None, is_time: bool
) -> str:
    """Return what the values of a column mean, in a word or two.

    Args:
        family: of its type; see `contracts.families`.
        distinct: about how many different values it has. rows: how many rows have a value.
        values: some of its different values as text.
        numbers: its figures, when it holds numbers.
        is_time: whether its texts or numbers are read as moments.
    """
    if not rows:
        return "empty"
    if distinct <= 1 and family not in ("array", "object", "map", "binary"):
        return "constant"
    if is_time and family not in ("date", "timestamp"):
        return "date and time"
    match family:
        case "boolean":
            return "yes or no"
        case "date":
            return "date"
        case "timestamp":
            return "date and time"
        case "time":
            return "time of day"
        case "array" | "object" | "map":
            return "nested"
        case "binary":
            return "bytes"
        case "integer" | "number" if numbers is not None:
            return _number(name, family, distinct, rows, numbers)
        case "string":
            return _text(name, distinct, rows, values)
    return family


def _number(name: str, family: str, distinct: int, rows: int, found: Numbers) -> str:
    low, high = float(found.minimum or 0), float(found.maximum or 0)
    whole = family == "integer"
    if _LATITUDE.search(name) and low >= -90 and high <= 90:
        return "latitude"
    if _LONGITUDE.search(name) and low >= -180 and high <= 180:
        return "longitude"
    if distinct == 2 and (low, high) == (0, 1):
        return "yes or no"
    if whole and _YEAR_NAME.search(name) and low >= 1000 and high <= 2200:
        return "year"
    if whole and _POSTAL_NAME.search(name):
        return "postal code"
    if whole and (_ID_NAME.search(name) or distinct >= 0.98 * rows > FEW) and not _COUNT_NAME.search(name):
        return "identifier"
    if _MONEY_NAME.search(name) and not _SHARE_NAME.search(name):
        return "money"
    if _SHARE_NAME.search(name) and ((low >= 0 and high <= 1) or (low >= 0 and high <= 100)):
        return "share" if high <= 1 else "percent"
    if whole and distinct <= 12:
        return "category"
    return "whole number" if whole else "number"


def _text(name: str, distinct: int, rows: int, values: Sequence[str]) -> str:
    for word, test in _FORMS:
        if values and sum(map(test, values)) >= ENOUGH * len(values):
            return word
    known = {value.strip() for value in values}
    if known and known <= CURRENCIES and len(known) > 1:
        return "currency code"
    if known and _COUNTRY_NAME.search(name) and len(known & COUNTRIES_2) >= ENOUGH * len(known):
        return "country code"
    if _POSTAL_NAME.search(name) and any(letter.isdigit() for value in known for letter in value):
        return "postal code"
    if {value.lower() for value in known} in _YES_NO:
        return "yes or no"
    length = sum(map(len, values)) / len(values) if values else 0.0
    if length > LONG and sum(value.count(" ") for value in values) > 5 * len(values):
        return "free text"
    if _ID_NAME.search(name) or (distinct >= 0.95 * rows and rows > FEW and length < 40 and not _spaced(values)):
        return "identifier"
    if distinct <= max(FEW, min(0.05 * rows, MANY)):
        return "category"
    return "free text" if _spaced(values) else "name or code"


def _spaced(values: Sequence[str]) -> bool:
    return sum(" " in value.strip() for value in values) > len(values) / 2


def _uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return "-" in text


_YES_NO = tuple(
    {*pair} for pair in (("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("0", "1"), ("ja", "nein"))
)
_FORMS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("email", lambda text: bool(_MAIL.fullmatch(text.strip()))),
    ("url", lambda text: bool(_URL.fullmatch(text.strip()))),
    ("uuid", _uuid),
    ("hash", lambda text: bool(_HEX.fullmatch(text))),
    ("percent", lambda text: bool(_PERCENT.fullmatch(text.strip()))),
    ("money", lambda text: bool(_MONEY.fullmatch(text.strip())) and not text.strip().isalnum()),
    ("coordinates", lambda text: bool(_PAIR.fullmatch(text.strip()))),
    ("time of day", lambda text: bool(_CLOCK.fullmatch(text.strip()))),
    ("version", lambda text: bool(_VERSION.fullmatch(text.strip()))),
    ("json", lambda text: bool(_JSON.fullmatch(text))),
    ("file path", lambda text: bool(_PATH.fullmatch(text.strip()))),
)

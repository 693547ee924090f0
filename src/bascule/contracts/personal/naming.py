"""What columns are called that hold personal data, in the languages that tables are mostly named in."""

from __future__ import annotations

import re

# Kind to words; a column means a kind when its name has one of them as whole words, however they are joined.
WORDS: dict[str, tuple[str, ...]] = {
    "email": ("email", "e mail", "mail address", "correo", "courriel"),
    "phone": ("phone", "telephone", "mobile", "cell", "fax", "telefon", "handy", "telefono", "msisdn"),
    "name": (
        "first name", "last name", "full name", "surname", "given name", "family name", "middle name", "maiden name",
        "firstname", "lastname", "fullname", "vorname", "nachname", "nombre", "apellido", "prenom", "nom de famille",
        "customer name", "patient name", "employee name", "person name", "contact name", "cardholder",
    ),
    "address": (
        "address", "street", "street name", "house number", "postal address", "strasse", "adresse", "direccion",
        "addr", "address line",
    ),
    "postcode": ("zip", "zip code", "zipcode", "postcode", "postal code", "plz"),
    "date_of_birth": ("birth", "birthday", "birthdate", "dob", "born", "geburtsdatum", "geburtstag", "naissance"),
    "national_id": (
        "ssn", "social security", "national id", "tax id", "tin", "nhs number", "bsn", "cpf", "pesel", "aadhaar", "nir",
        "personnummer", "steuer id", "dni", "nie", "codice fiscale", "ahv",
    ),
    "passport": ("passport", "passport number", "passport no", "reisepass"),
    "driving_licence": ("driving licence", "driver license", "drivers license", "licence number", "fuehrerschein"),
    "credit_card": ("credit card", "card number", "pan", "cc number", "ccnum"),
    "iban": ("iban", "bank account", "account number"),
    "ip_address": ("ip", "ip address", "client ip", "remote addr", "ip addr"),
    "mac_address": ("mac", "mac address"),
    "gender": ("gender", "sex", "geschlecht"),
    "health": ("diagnosis", "icd", "icd10", "blood type", "disability", "medication"),
    "belief": ("religion", "ethnicity", "race", "political party", "sexual orientation", "union member"),
    "user_name": ("username", "user name", "login", "screen name", "nickname"),
    "secret": ("password", "passwd", "pin code", "secret", "api key", "access token"),
    "location": ("latitude", "longitude", "gps", "geolocation"),
}  # fmt: skip
# A phone number is no phone: these say that the word before or after means something else.
_NOT = re.compile(r"\b(count|number of|num|is|has|flag|type|model|version|id|status|hash|domain)\b")


def words_of(column: str) -> str:
    """Return a column's name as words in lower case: `birthDate`, `BIRTH_DATE` and `birth-date` are alike."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)
    return " ".join(re.findall(r"[^\W_]+", split)).lower()


def kinds_of(column: str) -> list[str]:
    """Return the kinds that a column's name speaks of."""
    plain = words_of(column)
    return [kind for kind, words in WORDS.items() if any(re.search(rf"\b{re.escape(one)}\b", plain) for one in words)]


def is_exact(column: str, kind: str) -> bool:
    """Tell whether a column's name says a kind and nothing that makes it another thing, as `email_count` does."""
    return not _NOT.search(words_of(column)) or words_of(column) in WORDS[kind]

"""Names of people in free text, by a language model: Presidio on spaCy, when they are installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bascule.errors import EnvironmentProblem, InputError

MOST = 500  # texts that are read; a model reads some hundred a second
SURE = 0.6


def people_in(language: str) -> Callable[[Sequence[str]], int]:
    """Return what counts the texts of a sample that name a person.

    Raises:
        EnvironmentProblem: Presidio or spaCy is not installed. They are large, so no extra brings them.
        InputError: there is no model of the language.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError as error:
        raise EnvironmentProblem(
            "Finding names in text needs a language model, which is not installed.",
            hint=f"Install one: pip install presidio-analyzer && python -m spacy download {language}_core_web_lg",
        ) from error
    try:
        engine = AnalyzerEngine(supported_languages=[language])
    except (OSError, ValueError, SystemExit) as error:
        raise InputError(
            f"There is no model of the language {language!r}: {error}",
            hint=f"Install one: python -m spacy download {language}_core_web_lg",
        ) from error

    def count(values: Sequence[str]) -> int:
        return sum(
            1
            for value in values[:MOST]
            if any(one.score >= SURE for one in engine.analyze(value, language, entities=["PERSON"]))
        )

    return count

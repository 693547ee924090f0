"""Personal data in free text, by a model of language: a spaCy pipeline, Presidio, or a function of the user's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bascule.errors import InputError, MissingExtra
from bascule.functions import load_function

SURE = 0.6
MOST_READ = 500  # texts of a column
PRESIDIO = "presidio:"
EXTRA = "nlp"
# What pipelines call a person's name; other entities name no person by themselves.
PERSONS = ("PERSON", "PER")

#: Counts, by kind, the texts of a sample in which a model finds personal data of that kind.
Recogniser = Callable[[Sequence[str]], Counter[str]]


def recogniser(nlp: str, folder: Path | None = None) -> Recogniser:
    """Return what counts personal data in texts.

    Args:
        nlp: a spaCy pipeline, as a package's name or a folder; `presidio:en` for Presidio with its usual model, or
            `presidio:en:MODEL`; or `module:function`, which gets a list of texts and gives, for each, the kinds of
            personal data in it.
        folder: where the function's module may lie.

    Raises:
        MissingExtra: the library is not installed.
        InputError, NotFound: there is no such model or function. Models are fetched by nobody but their user.
    """
    if nlp.startswith(PRESIDIO):
        return _presidio(nlp.removeprefix(PRESIDIO))
    if ":" in nlp:
        return _function(nlp, folder)
    return _spacy(nlp, folder)


def _presidio(asked: str) -> Recogniser:
    language, _, model = asked.partition(":")
    model = model or f"{language}_core_{'web' if language in ('en', 'zh') else 'news'}_lg"
    try:
        import spacy
    except ImportError as error:
        raise MissingExtra("Finding names in text with Presidio", EXTRA) from error
    if not (spacy.util.is_package(model) or Path(model).is_dir()):  # asked first: Presidio would go and fetch it
        raise InputError(
            f"Presidio reads the language {language!r} with the spaCy model {model!r}, which is not installed.",
            hint=f"Install it: python -m spacy download {model}; or name another that is: "
            f"{PRESIDIO}{language}:en_core_web_sm",
        )
    try:
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
    except ImportError as error:
        raise MissingExtra("Finding names in text with Presidio", EXTRA) from error
    models = [{"lang_code": language, "model_name": model}]
    try:
        made = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
        engine = AnalyzerEngine(nlp_engine=made, supported_languages=[language])
    except (OSError, ValueError, SystemExit) as error:
        raise InputError(
            f"Presidio cannot read the language {language!r} with {model!r}: {str(error).splitlines()[0]}",
            hint="Name another model, or a spaCy pipeline by itself: --nlp en_core_web_sm",
        ) from error

    def kinds(text: str) -> Iterable[str]:
        found = engine.analyze(text, language, entities=["PERSON"])
        return ("name",) if any(one.score >= SURE for one in found) else ()

    return lambda texts: _counted(map(kinds, texts[:MOST_READ]))


def _spacy(name: str, folder: Path | None) -> Recogniser:
    try:
        import spacy
    except ImportError as error:
        raise MissingExtra(f"Reading text with the spaCy pipeline {name!r}", EXTRA) from error
    here = folder / name if folder is not None else Path(name)
    try:
        pipeline = spacy.load(here if here.is_dir() else name)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"The spaCy pipeline {name!r} cannot be loaded: {str(error).splitlines()[0]}",
            hint=f"Install it: python -m spacy download {name}; or name a folder that has one.",
        ) from error
    if not ({"ner", "entity_ruler", "span_ruler"} & set(pipeline.pipe_names)):
        raise InputError(
            f"The spaCy pipeline {name!r} finds no entities: it has {', '.join(pipeline.pipe_names) or 'no parts'}.",
            hint="Name one with a part ner or entity_ruler, such as en_core_web_sm.",
        )

    def count(texts: Sequence[str]) -> Counter[str]:
        read = pipeline.pipe(texts[:MOST_READ])
        return _counted({"name" for one in document.ents if one.label_ in PERSONS} for document in read)

    return count


def _function(name: str, folder: Path | None) -> Recogniser:
    function = load_function(name, folder)

    def count(texts: Sequence[str]) -> Counter[str]:
        some = list(texts[:MOST_READ])
        try:
            found = [list(kinds) for kinds in function(some)]
        except Exception as error:
            raise InputError(
                f"{name} failed: {type(error).__name__}: {error}", hint="It gets a list of texts."
            ) from error
        if len(found) != len(some) or not all(isinstance(kind, str) and kind for kinds in found for kind in kinds):
            raise InputError(
                f"{name} gave {len(found):,} answers for {len(some):,} texts, or kinds that are no texts.",
                hint='For each text it gives the kinds in it, such as ["name", "address"], or [].',
            )
        return _counted(found)

    return count


def _counted(found: Iterable[Iterable[str]]) -> Counter[str]:
    return Counter(kind for kinds in found for kind in set(kinds))

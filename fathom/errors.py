"""Errors that say what was given, why it cannot be, and what to write instead."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, requires


class FathomError(Exception):
    """A mistake that its reader can mend; the command line prints it alone and exits with 2."""


class DataError(FathomError):
    """A file, a column or a row that cannot be what it should be."""


class ConfigError(FathomError):
    """A setting, a recipe or a command-line value that cannot be."""


class ModelError(FathomError):
    """A checkpoint, a tokenizer or a model that does not fit what is asked of it."""


class MissingExtraError(FathomError):
    """A package of an extra that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}', which is not installed: run  pip install 'fathom-rec[{extra}]'")


def extra_of(module: str) -> str | None:
    """The extra that brings the package of an imported module; None for one that no extra brings.

    >>> extra_of("transformers.models"), extra_of("sentence_transformers"), extra_of("nowhere")
    ('llm', 'llm', None)
    """
    wanted = {"sklearn": "scikit-learn"}.get(package := module.partition(".")[0], package.replace("_", "-"))
    try:
        needed = requires("fathom-rec") or []
    except PackageNotFoundError:  # code that was copied and not installed
        return None
    found = (re.match(r"""([\w-]+).*extra == ['"](\w+)['"]""", one) for one in needed)
    return next((one[2] for one in found if one and one[1].lower() == wanted and one[2] not in ("all", "dev")), None)


def suggestion(word: str, known: Iterable[str]) -> str:
    """The words to add to an error about an unknown name: the nearest known one, or all of them.

    >>> suggestion("sample", ["samples", "steps"])
    "; did you mean 'samples'?"
    >>> suggestion("xyz", ["samples", "steps"])
    "; known are 'samples', 'steps'"
    """
    names = sorted(known)
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return "; known are " + ", ".join(f"'{name}'" for name in names) if names else ""

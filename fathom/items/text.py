"""A catalogue row becomes the words a text encoder reads."""

import re
import string

from fathom.errors import ConfigError, suggestion
from fathom.records import Catalog

SPACES = re.compile(r"\s+")


def item_texts(catalog: Catalog, template: str | None = None) -> list[str]:
    """One line of text per item, in the order of the ids 1..N.

    Without a template: the title, each attribute the item has as "name: value, value", then the description. A template is
    ordinary text with names in braces, '{title} by {director}': 'title', 'description' or an attribute; a missing value
    leaves nothing behind. An unknown name is a `ConfigError`.

    >>> catalog = Catalog(("a",), ("Heat (1995)",), {"genres": (("Crime", "Drama"),)})
    >>> item_texts(catalog)
    ['Heat (1995). genres: Crime, Drama.']
    >>> item_texts(catalog, "{title} ({genres})")
    ['Heat (1995) (Crime, Drama)']
    """
    if template is None:
        return [_sentences(catalog, item) for item in range(1, catalog.n_items + 1)]
    known = ["title", "description", *catalog.attributes]
    try:
        pieces = [(text, name) for text, name, _, _ in string.Formatter().parse(template)]
    except ValueError as error:
        raise ConfigError(
            f"the item template {template!r} cannot be read ({error}): write names in braces, '{{title}}: {{genres}}'"
        ) from error
    for _, name in pieces:
        if name is not None and name not in known:
            raise ConfigError(f"the item template names '{name}', which this catalogue does not have{suggestion(name, known)}")
    return [_one_line("".join(text + _value(catalog, item, name) for text, name in pieces)) for item in range(1, catalog.n_items + 1)]


def _sentences(catalog: Catalog, item: int) -> str:
    """Title, attributes and description, each ended by one full stop."""
    parts = [catalog.title(item)]
    parts += [f"{name}: {value}" for name in catalog.attributes if (value := _value(catalog, item, name))]
    parts += [_value(catalog, item, "description")]
    return _one_line(" ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part))


def _value(catalog: Catalog, item: int, name: str | None) -> str:
    """What stands for `name` in the text of `item`; '' where the item has none of it."""
    if name is None:
        return ""
    if name == "title":
        return catalog.title(item)
    if name in catalog.attributes:
        return ", ".join(catalog.attributes[name][item - 1])
    return catalog.descriptions[item - 1] if catalog.descriptions else ""


def _one_line(text: str) -> str:
    """`text` with every run of white space as one blank."""
    return SPACES.sub(" ", text).strip()

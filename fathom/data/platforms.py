"""The platform of a video game, read off its title where the title leaves no doubt."""

import re

PLATFORMS = {
    "PlayStation 2": ("playstation 2", "ps2"),
    "PlayStation 3": ("playstation 3", "ps3"),
    "PlayStation 4": ("playstation 4", "ps4"),
    "PlayStation Vita": ("playstation vita", "ps vita", "psvita"),
    "PSP": ("psp", "playstation portable"),
    "Xbox 360": ("xbox 360", "xbox360"),
    "Xbox One": ("xbox one", "xboxone"),
    "Nintendo 3DS": ("3ds", "3ds xl"),
    "Nintendo DS": ("nintendo ds", "nds", "ds lite", "dsi", "dsi xl"),
    "Nintendo Switch": ("nintendo switch",),
    "Nintendo 64": ("nintendo 64", "n64"),
    "Wii U": ("wii u", "wiiu"),
    "Wii": ("wii",),
    "GameCube": ("gamecube", "game cube"),
    "Super Nintendo": ("super nintendo", "snes"),
    "NES": ("nes", "nintendo entertainment system"),
    "Game Boy Advance": ("game boy advance", "gameboy advance", "gba"),
    "Game Boy Color": ("game boy color", "gameboy color"),
    "Dreamcast": ("dreamcast",),
    "Sega Saturn": ("sega saturn",),
    "Sega Genesis": ("sega genesis",),
    "PlayStation": ("playstation", "ps1", "psx"),
    "Xbox": ("xbox",),
    "Game Boy": ("game boy", "gameboy"),
    "PC": ("pc", "windows"),
    "Mac": ("mac", "macintosh"),
    "Linux": ("linux",),
}
"""Platform -> how titles write it."""

VAGUE = frozenset({"PlayStation", "Xbox", "Game Boy", "PC", "Mac", "Linux"})
"""Words that also stand for a family, a shop or a part; they count only where nothing else is said, at the end or in brackets."""

_ALIASES = {alias: platform for platform, aliases in PLATFORMS.items() for alias in aliases}
_NAMED = re.compile(r"(?<![\w-])(" + "|".join(sorted(map(re.escape, _ALIASES), key=len, reverse=True)) + r")(?![\w-])")
_FILLING = re.compile(r"(?<!\w)(?:and|or|for|nintendo|sony|microsoft|sega|standard edition)(?!\w)|[\s/,&+|]+")
_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")


def platforms_of(title: str) -> tuple[str, ...]:
    """The platforms a title names for certain, in its order; empty where there is doubt.

    Certain is (1) the part after the last dash, or in brackets, that names platforms and nothing else; else (2) a title that
    names exactly one platform, by an unmistakable word.

    >>> platforms_of("Hulk - Xbox"), platforms_of("The Sims 3 [Download] - PC/Mac"), platforms_of("PS2 PSX to PC USB adapter")
    (('Xbox',), ('PC', 'Mac'), ())
    """
    lowered = " ".join(title.lower().split())
    without_brackets = _BRACKETS.sub(" ", lowered).strip()
    last = re.split(r"\s+-\s*|\s*-\s+", without_brackets)
    for part in ([last[-1]] if len(last) > 1 else []) + _BRACKETS.findall(lowered):
        found = _NAMED.findall(part)
        if found and not _FILLING.sub("", _NAMED.sub("", part)):
            return tuple(dict.fromkeys(_ALIASES[alias] for alias in found))
    named = {_ALIASES[alias] for alias in _NAMED.findall(lowered)}
    return tuple(named) if len(named) == 1 and not named & VAGUE else ()

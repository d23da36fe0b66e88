"""Public data sets fetched from their official address, checked, unpacked, with their terms beside them."""

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from fathom.data.movielens import LICENCE, NO_REDISTRIBUTION
from fathom.errors import DataError, suggestion
from fathom.files import folder_written_aside, write_json, written_aside

Progress = Callable[[int, int], None]
"""Called with the bytes so far and the bytes in all (0: unknown)."""

_GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
_AMAZON_2018 = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/"
_AMAZON_2023 = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/"
_AMAZON = "no explicit licence: research use, not to be redistributed; cite "

CATEGORIES_2018 = (
    *("AMAZON_FASHION", "All_Beauty", "Appliances", "Arts_Crafts_and_Sewing", "Automotive", "Books", "CDs_and_Vinyl"),
    *("Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry", "Digital_Music", "Electronics", "Gift_Cards"),
    *("Grocery_and_Gourmet_Food", "Home_and_Kitchen", "Industrial_and_Scientific", "Kindle_Store", "Luxury_Beauty"),
    *("Magazine_Subscriptions", "Movies_and_TV", "Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden"),
    *("Pet_Supplies", "Prime_Pantry", "Software", "Sports_and_Outdoors", "Tools_and_Home_Improvement", "Toys_and_Games", "Video_Games"),
)
CATEGORIES_2023 = (
    *("All_Beauty", "Amazon_Fashion", "Appliances", "Arts_Crafts_and_Sewing", "Automotive", "Baby_Products"),
    *("Beauty_and_Personal_Care", "Books", "CDs_and_Vinyl", "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry"),
    *("Digital_Music", "Electronics", "Gift_Cards", "Grocery_and_Gourmet_Food", "Handmade_Products", "Health_and_Household"),
    *("Health_and_Personal_Care", "Home_and_Kitchen", "Industrial_and_Scientific", "Kindle_Store", "Magazine_Subscriptions"),
    *("Movies_and_TV", "Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Software"),
    *("Sports_and_Outdoors", "Subscription_Boxes", "Tools_and_Home_Improvement", "Toys_and_Games", "Video_Games"),
)


@dataclass(frozen=True, slots=True)
class Remote:
    """One file to fetch."""

    url: str
    checksum: str = ""
    """'md5:...' or 'sha256:...' as published; '' where nobody publishes one: then what was found is written down."""


@dataclass(frozen=True, slots=True)
class Download:
    """One public data set."""

    files: tuple[Remote, ...]
    licence: str
    members: tuple[tuple[str, str], ...] = ()
    """(name inside the archive, checksum) of files that can be checked when the archive itself has no published checksum."""


def _amazon(year: int, category: str) -> Download:
    if year == 2018:
        names = (f"categoryFilesSmall/{category}_5.json.gz", f"metaFiles2/meta_{category}.json.gz")
        return Download(tuple(Remote(_AMAZON_2018 + name) for name in names), _AMAZON + "Ni, Li and McAuley, EMNLP 2019 (UCSD)")
    names = (f"review_categories/{category}.jsonl.gz", f"meta_categories/meta_{category}.jsonl.gz")
    return Download(tuple(Remote(_AMAZON_2023 + name) for name in names), _AMAZON + "Hou et al. 2024, arXiv:2403.03952 (UCSD)")


def _short(category: str) -> str:
    return category.lower().replace("_", "-")


DOWNLOADS: dict[str, Download] = {
    "movielens-100k": Download((Remote(_GROUPLENS + "ml-100k.zip", "md5:0e33842e24a9c977be4e0107933c0723"),), NO_REDISTRIBUTION),
    "movielens-1m": Download((Remote(_GROUPLENS + "ml-1m.zip", "md5:c4d9eecfca2ab87c1945afe126590906"),), NO_REDISTRIBUTION),
    "movielens-20m": Download((Remote(_GROUPLENS + "ml-20m.zip", "md5:cd245b17a1ae2cc31bb14903e1204af3"),), LICENCE),
    "movielens-25m": Download((Remote(_GROUPLENS + "ml-25m.zip", "md5:6b51fb2759a8657d3bfcbfc42b592ada"),), LICENCE),
    "movielens-latest-small": Download(
        (Remote(_GROUPLENS + "ml-latest-small.zip"),),
        LICENCE + "; redistribution under the same terms",
        members=(
            ("ratings.csv", "sha256:aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646"),
            ("movies.csv", "sha256:5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07"),
        ),
    ),
    **{f"amazon-2018-{_short(category)}": _amazon(2018, category) for category in CATEGORIES_2018},
    **{f"amazon-2023-{_short(category)}": _amazon(2023, category) for category in CATEGORIES_2023},
}
"""Name -> what is fetched for it."""


def get(name: str, into: Path, from_dir: Path | None = None, *, progress: Progress | None = None) -> Path:
    """The folder `into`/`name` with the files of the data set `name`, ready for `fathom.data.sources.read`.

    They are fetched from the official address, or taken from `from_dir`, where they lie under the same file names (an archive, or
    already unpacked). Every published checksum is checked. `download.json` beside them tells addresses, checksums and licence.
    """
    if name not in DOWNLOADS:
        known = [known for known in DOWNLOADS if not known.startswith("amazon-") or name.startswith("amazon-")]
        raise DataError(f"unknown data set '{name}'{suggestion(name, known)}")
    if from_dir is not None and not from_dir.is_dir():
        raise DataError(f"{from_dir}: there is no such folder to take '{name}' from")
    folder = into / name
    if folder.exists() and not (folder / "download.json").is_file():
        raise DataError(
            f"{folder} exists and was not made by this command: it will not be overwritten; name another place with  --into DIR"
        )
    return _get(DOWNLOADS[name], folder, from_dir, progress=progress)


def _get(wanted: Download, folder: Path, from_dir: Path | None, *, progress: Progress | None) -> Path:
    with folder_written_aside(folder) as aside:
        found = _unpacked(wanted, from_dir, aside)
        for remote in wanted.files if not found else ():
            file_name = PurePosixPath(urlsplit(remote.url).path).name
            target = aside / file_name
            if from_dir is None:
                download(remote.url, target, checksum=remote.checksum, progress=progress)
            else:
                _copy(from_dir / file_name, target, remote.checksum)
            found[file_name] = f"sha256:{_digest(target, 'sha256')}"
            if target.suffix == ".zip":
                unzip(target, aside)
                target.unlink()
                for member, checksum in wanted.members:
                    _verify(aside / member, checksum)
        about = {
            "addresses": [remote.url for remote in wanted.files],
            "taken_from": "the addresses" if from_dir is None else "a local folder",
            "checksums": found,
            "licence": wanted.licence,
        }
        write_json(aside / "download.json", about)
    return folder


def download(url: str, path: Path, *, checksum: str = "", progress: Progress | None = None, timeout: float = 30.0) -> None:
    """Fetch `url` as the file `path`, whole and checked, or not at all.

    `checksum` is 'md5:...' or 'sha256:...'. Only http and https; a failure is a `DataError` that says what can be done instead.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"'{url}' is no address that can be fetched: write one that begins with https://")
    with written_aside(path) as aside:
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer, aside.open("wb") as file:
                total, so_far = int(answer.headers.get("Content-Length") or 0), 0
                while piece := answer.read(1 << 20):
                    file.write(piece)
                    so_far += len(piece)
                    if progress is not None:
                        progress(so_far, total)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise DataError(f"{url} could not be fetched ({reason}): fetch it by hand and name its folder with  --from DIR") from error
        if so_far < total:
            raise DataError(f"{url}: only {so_far:,} of {total:,} bytes came: try again")
        _verify(aside, checksum, name=path.name)


def unzip(archive: Path, folder: Path) -> None:
    """Unpack `archive` into `folder`, without the one folder that such archives hold; a path that leads outside is a `DataError`."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                parts = PurePosixPath(member.filename).parts
                if member.is_dir() or parts[0] == "__MACOSX":
                    continue
                if ".." in parts or PurePosixPath(member.filename).is_absolute():
                    raise DataError(f"{archive.name}: '{member.filename}' leads outside the folder: this archive is not what it should be")
                target = folder.joinpath(*(parts[1:] or parts))
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive.name}: not a whole zip archive ({error}): fetch it again") from error


def _unpacked(wanted: Download, from_dir: Path | None, aside: Path) -> dict[str, str]:
    """Copy an archive's members that lie unpacked in `from_dir`; the checksums found, empty where they do not lie there."""
    if from_dir is None or not wanted.members or not all((from_dir / member).is_file() for member, _ in wanted.members):
        return {}
    for member, checksum in wanted.members:
        _copy(from_dir / member, aside / member, checksum)
    return dict(wanted.members)


def _copy(source: Path, target: Path, checksum: str) -> None:
    if not source.is_file():
        there = ", ".join(sorted(entry.name for entry in source.parent.iterdir())[:12]) or "nothing"
        raise DataError(f"{source.parent}: there is no '{source.name}' in it (there is {there})")
    _verify(source, checksum)
    shutil.copyfile(source, target)


def _verify(path: Path, checksum: str, *, name: str = "") -> None:
    if not checksum:
        return
    kind, _, wanted = checksum.partition(":")
    if not path.is_file():
        raise DataError(f"the archive holds no '{name or path.name}': it is not what it should be")
    found = _digest(path, kind)
    if found != wanted:
        raise DataError(
            f"{name or path.name}: its {kind} is {found}, but {wanted} is published: it is damaged or was changed; fetch it again"
        )


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()

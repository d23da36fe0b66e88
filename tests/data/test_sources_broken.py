"""Damaged files: a dataset comes out, or one of our errors; never another one."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from fathom.data.sources import read
from fathom.errors import FathomError

LOG = "user,item,rating,timestamp\n" + "".join(f"u{n % 3},i{n % 5},{n % 5 + 1},{1000 + n}\n" for n in range(12))
REVIEW = '{"reviewerID": "A%d", "asin": "B%d", "overall": 5.0, "unixReviewTime": %d, "style": {"a": [1, null]}}\n'
WHOLE: dict[str, dict[str, str]] = {
    "csv": {"log.csv": LOG},
    "quoted": {"log.csv": LOG.replace("u1", '"u,1"')},
    "jsonl": {"log.jsonl": "".join(f'{{"user": "u{n % 3}", "item": {n % 5}, "time": {n}}}\n' for n in range(12))},
    "movielens": {
        "ratings.dat": "".join(f"{n % 3 + 1}::{n % 5 + 1}::5::{n}\n" for n in range(12)),
        "movies.dat": "".join(f"{n}::Film {n} (1999)::Drama|War\n" for n in range(1, 6)),
    },
    "amazon": {"Software.json": "".join(REVIEW % (n % 3, n % 5, n) for n in range(12))},
    "recbole": {"shop.inter": "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(f"u{n % 3}\ti{n % 5}\t{n}\n" for n in range(12))},
    "sequences": {"items.csv.gz": "item,asin,title\n0,A0,Film\n1,A1,Film\n", "sequences.txt.gz": "R1 0 1\nR2 1 0\n"},
}
NOISE = [
    b"\x00",
    b"\xff",
    b'"',
    b"\n",
    b",",
    b"\t",
    b"::",
    b"",
    b" ",
    b"{",
    b"NaN",
    b"-1",
    b"9" * 30,
    b"1e400",
    b"\r",
    b"\xef\xbb\xbf",
    b"null",
    b"[1]",
]


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """`content` with one to four places overwritten, or cut short."""
    for _ in range(int(generator.integers(1, 5))):
        place = int(generator.integers(0, len(content) + 1))
        length = int(generator.integers(0, 4))
        content = content[:place] + NOISE[int(generator.integers(0, len(NOISE)))] + content[place + length :]
    return content[: int(generator.integers(0, len(content) + 1))] if generator.random() < 0.2 else content


@pytest.mark.parametrize("layout", WHOLE)
def test_a_damaged_file_never_ends_in_a_traceback(tmp_path: Path, layout: str) -> None:
    generator = np.random.default_rng(7)
    outcomes = set()
    for round_ in range(60):
        folder = tmp_path / str(round_)
        folder.mkdir()
        for name, content in WHOLE[layout].items():
            raw = content.encode() if round_ == 0 else damaged(content.encode(), generator)
            (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        only = next(iter(WHOLE[layout])) if len(WHOLE[layout]) == 1 else ""
        outcome = attempted(folder / only)
        assert len(outcome) < 700, "an error is a sentence"
        assert round_ or outcome == "", "the whole file is fine"
        outcomes.add(outcome != "")
    assert outcomes == {False, True}, "both are met"


def attempted(path: Path) -> str:
    """What our error says; '' where a dataset came out."""
    try:
        dataset = read(path)
    except FathomError as error:
        return str(error)
    assert dataset.fingerprint
    return ""

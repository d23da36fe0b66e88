"""Downloads: whole and checked, from a server on this machine or from a folder."""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fathom.data.download import DOWNLOADS, download, get, unzip
from fathom.errors import DataError


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Torn(BaseHTTPRequestHandler):
    """Promises 100 bytes and sends three."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"abc")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def serve(handler: object) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "small.txt").write_bytes(b"a small file")
    server = serve(partial(Quiet, directory=str(tmp_path / "served")))
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def archive(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def test_a_file_comes_whole_and_checked(tmp_path: Path, address: str) -> None:
    seen: list[tuple[int, int]] = []
    checksum = "sha256:" + hashlib.sha256(b"a small file").hexdigest()
    download(f"{address}/small.txt", tmp_path / "got.txt", checksum=checksum, progress=lambda so_far, total: seen.append((so_far, total)))
    assert (tmp_path / "got.txt").read_bytes() == b"a small file"
    assert seen == [(12, 12)]


def test_a_wrong_checksum_leaves_nothing_behind(tmp_path: Path, address: str) -> None:
    with pytest.raises(DataError, match=r"got.txt: its md5 is \w{32}, but 0123 is published: it is damaged or was changed"):
        download(f"{address}/small.txt", tmp_path / "into" / "got.txt", checksum="md5:0123")
    assert list((tmp_path / "into").iterdir()) == []


def test_what_cannot_be_fetched_is_told(tmp_path: Path, address: str) -> None:
    with pytest.raises(DataError, match=r"could not be fetched \(.*\): fetch it by hand and name its folder with  --from DIR"):
        download(f"{address}/nowhere.txt", tmp_path / "got.txt")
    with pytest.raises(DataError, match="could not be fetched"):
        download("http://127.0.0.1:9/x", tmp_path / "got.txt", timeout=2)
    with pytest.raises(DataError, match="is no address that can be fetched"):
        download("file:///etc/hostname", tmp_path / "got.txt")


def test_a_torn_answer_is_not_a_file(tmp_path: Path) -> None:
    server = serve(Torn)
    with pytest.raises(DataError, match=r"only 3 of 100 bytes came|could not be fetched"):
        download(f"http://127.0.0.1:{server.server_port}/x", tmp_path / "got.txt")
    assert not (tmp_path / "got.txt").exists()
    server.shutdown()
    server.server_close()


def test_an_archive_loses_its_one_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive({"ml/ratings.csv": "x", "ml/more/readme": "y", "__MACOSX/ml/._a": "z"}))
    unzip(tmp_path / "a.zip", tmp_path / "into")
    assert sorted(path.relative_to(tmp_path / "into").as_posix() for path in (tmp_path / "into").rglob("*") if path.is_file()) == [
        "more/readme",
        "ratings.csv",
    ]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_an_archive_cannot_write_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(archive({name: "x"}))
    with pytest.raises(DataError, match="leads outside the folder"):
        unzip(tmp_path / "a.zip", tmp_path / "into")


def test_a_local_copy_is_taken_with_its_terms(tmp_path: Path) -> None:
    for name in ("Software_5.json.gz", "meta_Software.json.gz"):
        (tmp_path / name).write_bytes(name.encode())
    folder = get("amazon-2018-software", tmp_path / "data", tmp_path)
    assert folder == tmp_path / "data" / "amazon-2018-software"
    about = json.loads((folder / "download.json").read_text())
    assert about["licence"] == DOWNLOADS["amazon-2018-software"].licence
    assert about["checksums"]["Software_5.json.gz"] == "sha256:" + hashlib.sha256(b"Software_5.json.gz").hexdigest()
    assert about["addresses"][0].endswith("/categoryFilesSmall/Software_5.json.gz")


def test_a_changed_copy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip").write_bytes(archive({"ml-1m/ratings.dat": "1::1::5::1"}))
    with pytest.raises(DataError, match=r"ml-1m.zip: its md5 is .* but c4d9eecfca2ab87c1945afe126590906 is published"):
        get("movielens-1m", tmp_path / "data", tmp_path)
    (tmp_path / "ml-latest-small.zip").write_bytes(archive({"ml-latest-small/ratings.csv": "changed"}))
    with pytest.raises(DataError, match=r"ratings.csv: its sha256 is"):
        get("movielens-latest-small", tmp_path / "data", tmp_path)
    assert not (tmp_path / "data" / "movielens-1m").exists()


def test_unknown_names_and_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown data set 'movielens-2m'; did you mean 'movielens-\d+m'\?"):
        get("movielens-2m", tmp_path)
    with pytest.raises(DataError, match=r"there is no 'ml-1m.zip' in it"):
        get("movielens-1m", tmp_path / "data", tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        get("movielens-1m", tmp_path / "data", tmp_path / "nowhere")


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "movielens-1m").mkdir()
    with pytest.raises(DataError, match="was not made by this command: it will not be overwritten"):
        get("movielens-1m", tmp_path, tmp_path)


def test_every_download_has_an_address_and_terms() -> None:
    for name, wanted in DOWNLOADS.items():
        assert wanted.licence, name
        assert all(remote.url.startswith("https://") for remote in wanted.files), name

"""What a service must not forget, in SQLite and in PostgreSQL alike: all of it is a database's own, nothing stands in for one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from fathom.errors import ConfigError, DataError
from fathom.serving.store.store import Conflict, Feedback, Store, opened
from fathom.serving.store.tables import metadata
from tests.databases import postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "state" / "shop.db")
        return
    with postgres() as url:
        yield url


def test_what_somebody_did_is_read_in_its_order(place: str) -> None:
    with opened(place) as store:
        store.write(
            "films", [Feedback("anna", "tt1", "like", at=5.0), Feedback("anna", "tt2", "impression"), Feedback("ben", "tt1", "click")]
        )
        store.write("films", [Feedback("anna", "tt3", "dislike", conversation="c", model="sasrec", place=2)])
        store.write("books", [Feedback("anna", "b1", "like")])
        found = store.of_people("films", ["anna", "nobody"])
        assert [(act.item, act.kind) for act in found["anna"]] == [("tt1", "like"), ("tt3", "dislike")]
        assert found["nobody"] == []
        assert found["anna"][0].at == 5.0
        assert found["anna"][1].at == pytest.approx(time.time(), abs=60)
        assert found["anna"][1] == Feedback("anna", "tt3", "dislike", found["anna"][1].at, "c", "sasrec", 2)
        assert [(act.person, act.item) for act in store.acts("films")] == [
            ("anna", "tt1"),
            ("anna", "tt2"),
            ("ben", "tt1"),
            ("anna", "tt3"),
        ]


def test_another_process_reads_the_same(place: str) -> None:
    with opened(place) as store, opened(place) as other:
        store.write("films", [Feedback("anna", "tt1", "like")])
        assert [act.item for act in other.of_people("films", ["anna"])["anna"]] == ["tt1"]


def test_two_turns_at_once_cannot_overwrite_each_other(place: str) -> None:
    with opened(place) as store, opened(place) as other:
        kept = store.begin("films", "agent", "{}")
        assert other.conversation(kept.name) == kept
        assert store.conversation("unheard of") is None
        after = store.go_on(kept, '{"turns": 1}')
        assert (after.version, after.state) == (2, '{"turns": 1}')
        with pytest.raises(Conflict, match="another turn of this conversation was answered meanwhile: send this one again"):
            other.go_on(kept, '{"turns": "other"}')
        assert other.conversation(kept.name) == after
        assert store.forget_conversations(time.time() + 1) == 1
        assert store.conversation(kept.name) is None


def test_changes_of_a_catalogue_are_seen_in_order_and_an_item_is_added_once(place: str) -> None:
    with opened(place) as store, opened(place) as other:
        store.change("films", "new", "added", '{"title": "New"}')
        other.change("films", "tt1", "removed")
        with pytest.raises(Conflict, match="an item 'new' was added before"):
            other.change("films", "new", "added", "{}")
        store.change("books", "b1", "removed")
        seen = store.changes("films", 0)
        assert [(one.name, one.change, one.item) for one in seen] == [("new", "added", '{"title": "New"}'), ("tt1", "removed", None)]
        assert store.changes("films", seen[-1].number) == []
        other.change("films", "tt1", "restored")
        assert [one.change for one in store.changes("films", seen[-1].number)] == ["restored"]


def test_many_writers_lose_nothing(place: str) -> None:
    """Changes are polled by number while others write: whoever polls misses none, although databases number before they commit."""
    with opened(place) as store, opened(place) as other:
        seen: list[str] = []
        last = 0
        with ThreadPoolExecutor(8) as pool:
            writing = [pool.submit((store, other)[n % 2].change, "films", f"i{n}", "removed") for n in range(60)]
            writing += [pool.submit((store, other)[n % 2].write, "films", [Feedback(f"p{n % 3}", f"i{n}", "like")]) for n in range(60)]
            while not all(one.done() for one in writing):
                for change in store.changes("films", last):
                    seen.append(change.name)
                    last = change.number
            for one in writing:
                one.result()
        seen += [change.name for change in store.changes("films", last)]
        assert sorted(seen) == sorted(f"i{n}" for n in range(60))
        assert len(list(store.acts("films"))) == 60


BEGINNER = """
import sys
from fathom.serving.store.store import Store
sys.stdin.read()
Store(sys.argv[1]).check()
"""


def test_replicas_that_begin_together_make_the_tables_once(place: str) -> None:
    beginners = [subprocess.Popen([sys.executable, "-c", BEGINNER, place], stdin=subprocess.PIPE) for _ in range(4)]
    for beginner in beginners:
        assert beginner.stdin is not None
        beginner.stdin.close()
    assert [beginner.wait(60) for beginner in beginners] == [0] * 4
    with ThreadPoolExecutor(4) as pool:
        for store in pool.map(Store, [place] * 4):
            store.check()
            store.close()


def test_the_migrations_make_the_tables_that_the_code_reads(place: str) -> None:
    with opened(place) as store, store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


WRITER = """
import sys
from fathom.serving.store.store import Feedback, Store
store = Store(sys.argv[1])
for number in range(100_000):
    store.write("films", [Feedback("anna", f"i{number}", "like")])
    print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_was_acknowledged(place: str) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, place], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 40:
                os.kill(writer.pid, signal.SIGKILL)
                break
        acknowledged = 40 + len(writer.stdout.read().split())
    with opened(place) as store:
        kept = [act.item for act in store.acts("films")]
    assert kept[: acknowledged + 1] == [f"i{number}" for number in range(acknowledged + 1)]
    assert len(kept) <= acknowledged + 2  # the one that was being written may be there or not


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("mysql://anna:secret@host/shop", r"mysql://anna:\*\*\*@host/shop: 'mysql' is no database that a service can keep its state in"),
        ("postgresqll://host/shop", "did you mean 'postgresql'"),
    ],
)
def test_an_unknown_database_is_refused(wrong: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        Store(wrong)
    assert "secret" not in str(caught.value)


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("a shopping list, and nothing of a database, in more than the sixteen bytes of a header\n" * 20)
    with pytest.raises(DataError, match=r"notes\.txt: no database can be used there \(file is not a database\)"):
        Store(notes)
    assert notes.read_text().startswith("a shopping list")


def test_a_database_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"postgresql://anna:\*\*\*@127\.0\.0\.1:1/shop: no database can be used there"):
        Store("postgresql://anna:secret@127.0.0.1:1/shop")


def test_sqlite_waits_for_readers_and_writers(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db") as store, store._engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2

"""Reads and writes what a service must not forget. What a call has returned from is on the disk."""

import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fathom.errors import ConfigError, DataError, MissingExtraError, suggestion

try:
    import sqlalchemy as sa
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, OperationalError
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "sqlalchemy", "serve") from error

from fathom.serving.store.tables import added, conversations, feedback, items, metadata

Kind = Literal["like", "dislike", "click", "impression"]
"""What somebody did with an item. 'like' and 'click' make it part of the history; 'dislike' keeps it away; 'impression': it was shown."""

TAKEN: frozenset[Kind] = frozenset({"like", "click"})
"""What becomes part of a history."""

REMEMBERED = 1_000
"""Of each person so many of the latest acts count."""

PATIENCE = 10.0
"""Seconds for which a write to SQLite waits for another process to finish its own."""

MIGRATING = 7_201_993
"""PostgreSQL's number of the lock under which one replica brings the database up to date, and the others wait."""


_ONE_MIGRATION = threading.Lock()
"""Alembic keeps its environment in a module, so threads of one process take turns."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One act of one person."""

    person: str
    item: str
    """Name of the outside world."""
    kind: Kind
    at: float = 0.0
    """Seconds since 1970; 0: when it is written."""
    conversation: str | None = None
    model: str | None = None
    """Who had recommended it."""
    place: int | None = None
    """Where it stood in the list, from 1."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation as it was left."""

    name: str
    run: str
    model: str
    state: str
    version: int


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One change of a catalogue."""

    number: int
    name: str
    change: Literal["added", "removed", "restored"]
    item: str | None
    """What was added, as JSON."""


class Conflict(DataError):
    """Somebody else was faster: what was to be written rests on something that is no longer so."""


class Store:
    """One database. Threads may share it; so may processes, and machines where it is PostgreSQL."""

    def __init__(self, place: str | Path) -> None:
        """`place`: a file for SQLite, or a URL 'postgresql://USER@HOST/NAME'. The tables are made, or brought up to date."""
        self.place = str(place)
        self._engine = _engine(self.place)
        try:
            self._migrate()
        except (OperationalError, DatabaseError) as error:
            raise DataError(f"{without_password(self.place)}: no database can be used there ({_first_line(error)})") from error

    # Feedback -----------------------------------------------------------------------------------------------------------------------

    def write(self, run: str, acts: Sequence[Feedback]) -> None:
        """Keep what people did, all of it or nothing."""
        now = time.time()
        rows = [{**asdict(act), "run": run, "at": act.at or now} for act in acts]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(feedback), rows)

    def of_people(self, run: str, people: Sequence[str]) -> Mapping[str, list[Feedback]]:
        """What each of `people` did, oldest first, impressions left out; at most the latest `REMEMBERED`."""
        found: dict[str, list[Feedback]] = {person: [] for person in people}
        wanted = sa.select(feedback).where(
            feedback.c.run == run, feedback.c.person.in_(list(found)), feedback.c.kind.in_(("like", "dislike", "click"))
        )
        with self._engine.connect() as connection:
            for row in connection.execute(wanted.order_by(feedback.c.number)).mappings():
                found[row["person"]].append(_act(row))
        return {person: acts[-REMEMBERED:] for person, acts in found.items()}

    def acts(self, run: str) -> Iterator[Feedback]:
        """Everything that was done, oldest first."""
        with self._engine.connect().execution_options(yield_per=1_000) as connection:
            for row in connection.execute(sa.select(feedback).where(feedback.c.run == run).order_by(feedback.c.number)).mappings():
                yield _act(row)

    # Conversations ------------------------------------------------------------------------------------------------------------------

    def begin(self, run: str, model: str, state: str) -> Kept:
        """A new conversation, under a name that nobody can guess."""
        kept = Kept(uuid.uuid4().hex, run, model, state, 1)
        with self._engine.begin() as connection:
            connection.execute(sa.insert(conversations).values(**asdict(kept), at=time.time()))
        return kept

    def conversation(self, name: str) -> Kept | None:
        """The conversation of that name, if there is one."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(conversations).where(conversations.c.name == name)).mappings().first()
        return None if row is None else Kept(row["name"], row["run"], row["model"], row["state"], row["version"])

    def go_on(self, kept: Kept, state: str) -> Kept:
        """The conversation with one turn more; a `Conflict` where it went on elsewhere meanwhile."""
        same = sa.and_(conversations.c.name == kept.name, conversations.c.version == kept.version)
        with self._engine.begin() as connection:
            done = connection.execute(
                sa.update(conversations).where(same).values(state=state, version=kept.version + 1, at=time.time())
            ).rowcount
        if not done:
            raise Conflict("another turn of this conversation was answered meanwhile: send this one again")
        return Kept(kept.name, kept.run, kept.model, state, kept.version + 1)

    def forget_conversations(self, before: float) -> int:
        """Drop those in which nothing was said since; how many."""
        with self._engine.begin() as connection:
            return int(connection.execute(sa.delete(conversations).where(conversations.c.at < before)).rowcount)

    # The catalogue ------------------------------------------------------------------------------------------------------------------

    def change(self, run: str, name: str, change: Literal["added", "removed", "restored"], item: str | None = None) -> None:
        """Keep one change of a run's catalogue; a `Conflict` where an item of that name was added before."""
        try:
            with self._engine.begin() as connection:
                self._in_order(connection, run)
                if change == "added":
                    connection.execute(sa.insert(added).values(run=run, name=name))
                connection.execute(sa.insert(items).values(run=run, name=name, change=change, item=item))
        except IntegrityError as error:
            raise Conflict(f"an item '{name}' was added before") from error

    def changes(self, run: str, after: int) -> list[ItemChange]:
        """The changes of a run's catalogue behind number `after`, in order."""
        wanted = sa.select(items).where(items.c.run == run, items.c.number > after).order_by(items.c.number)
        with self._engine.connect() as connection:
            return [ItemChange(row["number"], row["name"], row["change"], row["item"]) for row in connection.execute(wanted).mappings()]

    # The database -------------------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing where the database answers; what it says otherwise is a `DataError`."""
        try:
            with self._engine.connect() as connection:
                connection.execute(sa.select(sa.literal(1)))
        except DatabaseError as error:
            raise DataError(f"{without_password(self.place)}: the database does not answer ({_first_line(error)})") from error

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def _in_order(self, connection: sa.Connection, run: str) -> None:
        """Changes of one run are numbered in the order in which they can be seen: whoever asks for those behind a number misses none.

        SQLite lets one process write at a time; PostgreSQL numbers before it commits, so writers take turns until they have.
        """
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(run))))

    def _migrate(self) -> None:
        """Let Alembic run the files in `migrations` that this database has not seen, one replica at a time."""
        folder = str(Path(__file__).parent / "migrations")
        script = ScriptDirectory(folder, version_locations=[folder])
        environment = EnvironmentContext(Config(), script, fn=lambda seen, _: script._upgrade_revs("head", seen))
        with _ONE_MIGRATION, self._engine.begin() as connection, environment:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATING)))
            else:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            environment.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
            environment.run_migrations()


def _engine(place: str) -> sa.Engine:
    scheme, divided, rest = place.partition("://")
    if not divided:
        Path(place).absolute().parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(f"sqlite:///{Path(place).absolute()}", connect_args={"timeout": PATIENCE})
        sa.event.listen(engine, "connect", _careful)
        return engine
    if scheme not in ("postgresql", "postgres"):
        told = f"{without_password(place)}: '{scheme}' is no database that a service can keep its state in"
        raise ConfigError(f"{told}; write a file, or postgresql://USER@HOST/NAME{suggestion(scheme, ['postgresql'])}")
    try:
        return sa.create_engine(f"postgresql+psycopg://{rest}", pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "psycopg", "postgres") from error
    except ArgumentError as error:
        raise ConfigError(f"{without_password(place)}: not a URL of a database; write postgresql://USER@HOST/NAME") from error


def _careful(connection: Any, _: object) -> None:
    """Readers do not wait for writers, and what is acknowledged has reached the disk."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


@contextmanager
def opened(place: str | Path) -> Iterator[Store]:
    """A store that is closed when the block ends."""
    store = Store(place)
    try:
        yield store
    finally:
        store.close()


def without_password(place: str) -> str:
    """The place for people to read.

    >>> without_password("postgresql://anna:secret@host/shop")
    'postgresql://anna:***@host/shop'
    """
    scheme, divided, rest = place.partition("://")
    who, at, where = rest.rpartition("@")
    return f"{scheme}://{who.partition(':')[0]}:***@{where}" if divided and at and ":" in who else place


def _act(row: Any) -> Feedback:
    assert row["kind"] in get_args(Kind)
    return Feedback(row["person"], row["item"], row["kind"], row["at"], row["conversation"], row["model"], row["place"])


def _first_line(error: Exception) -> str:
    told = str(getattr(error, "orig", None) or error).strip().splitlines()
    return told[0] if told else type(error).__name__

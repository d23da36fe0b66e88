"""The tables of a service. A change here needs a new file in `migrations/versions`; a test holds the two against each other."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up integers alone, PostgreSQL's would end at two thousand million."""

metadata = MetaData()

feedback = Table(
    "feedback",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("run", String, nullable=False),
    Column("person", String, nullable=False),
    Column("item", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("conversation", String),
    Column("model", String),
    Column("place", Integer),
    Index("feedback_of_person", "run", "person", "number"),
)
"""What people did, in the order in which it was acknowledged."""

conversations = Table(
    "conversations",
    metadata,
    Column("name", String, primary_key=True),
    Column("run", String, nullable=False),
    Column("model", String, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", Float, nullable=False),
)
"""Conversations under way, as JSON; `version` grows with every turn, so that two turns at once cannot overwrite each other."""

items = Table(
    "items",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("run", String, nullable=False),
    Column("name", String, nullable=False),
    Column("change", String, nullable=False),
    Column("item", Text),
    Index("items_of_run", "run", "number"),
)
"""Changes of a catalogue, in order: 'added' with all that is known of the item as JSON, 'removed', 'restored'."""

added = Table(
    "added",
    metadata,
    Column("run", String, nullable=False),
    Column("name", String, nullable=False),
    UniqueConstraint("run", "name", name="added_once"),
)
"""Names of items that were added: no two replicas can add the same one."""

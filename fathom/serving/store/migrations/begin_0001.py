"""Feedback, conversations, changes of the catalogue."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "feedback",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("run", sa.String, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("item", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("conversation", sa.String),
        sa.Column("model", sa.String),
        sa.Column("place", sa.Integer),
    )
    op.create_index("feedback_of_person", "feedback", ["run", "person", "number"])
    op.create_table(
        "conversations",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("run", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "items",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("run", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("change", sa.String, nullable=False),
        sa.Column("item", sa.Text),
    )
    op.create_index("items_of_run", "items", ["run", "number"])
    op.create_table(
        "added",
        sa.Column("run", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.UniqueConstraint("run", "name", name="added_once"),
    )

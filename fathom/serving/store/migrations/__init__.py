"""How the tables came to be what they are, one file a change; Alembic runs those that a database has not seen."""

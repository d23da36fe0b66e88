"""What a service must not forget: feedback, conversations, changes of the catalogue. SQLite by default, PostgreSQL where replicas share."""

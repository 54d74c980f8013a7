"""The database of an account: one SQLite file, its schema, and group commit."""

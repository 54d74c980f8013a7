"""The rules engine: SQL statements that select messages, and actions that receive the result."""

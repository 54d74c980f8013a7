"""Views of what happened in an account: events, metrics, and the reason of the last refusal."""

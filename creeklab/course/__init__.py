"""The course: what each notebook needs before it starts, and the self-checks in its steps."""

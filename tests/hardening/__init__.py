"""What the cloud holds under: each command is one kind of trouble, at length."""

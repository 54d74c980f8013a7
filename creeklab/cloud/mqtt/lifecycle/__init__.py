"""Connected clients, why the others disconnected, and the events that report both."""

"""creeklab: learn AWS IoT around one real creek."""

"""The creek itself: recorded data and what can be said from it. Knows no AWS."""

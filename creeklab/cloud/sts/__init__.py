"""AWS Security Token Service, as far as clients ask it which account they use."""

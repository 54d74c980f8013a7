"""AWS resources: their kinds, the calls that create and delete them, and how to look them up."""

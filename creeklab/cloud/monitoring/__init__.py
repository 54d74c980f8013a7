"""What happened in an account: the event log, with a reason for every refusal, and the metrics.

Every service writes to both; nothing here knows any of them.
"""

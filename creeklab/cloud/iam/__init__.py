"""AWS Identity and Access Management, as far as rules and functions need it: roles.

A role has a trust policy, which says which services can assume it, and inline policies, which say
what a service is then allowed to do. There are no managed policies, users or groups: the account's
only user is its administrator.
"""

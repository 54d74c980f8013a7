"""AWS Lambda, for Python functions: each environment is a process of this machine."""

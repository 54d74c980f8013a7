"""The HTTP side of the local AWS IoT Core, driven by botocore's service models."""

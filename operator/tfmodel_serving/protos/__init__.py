"""Generated from serving.proto by `make generate`."""

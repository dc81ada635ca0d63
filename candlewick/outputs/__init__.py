"""Outputs: what the local store took in goes on to databases and brokers, in order, each at its own pace."""

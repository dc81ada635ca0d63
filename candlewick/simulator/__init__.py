"""An exchange that behaves as Binance is documented and measured to, for demonstrations and fault tests.

Written from the venue's documents alone: it imports nothing that reads the venue's messages.
"""

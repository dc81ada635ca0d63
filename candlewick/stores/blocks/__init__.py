"""One block of a series: its candles column by column, each column packed into as few bytes as lose nothing.

docs/store-format.md describes the bytes; `layout` holds what writing and reading share.
"""

"""Market data that can be proved complete.

`import candlewick` is cheap: what needs a store or a frame library is imported when it is first used.
"""

__version__ = "0.1.0"

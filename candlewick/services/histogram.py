"""Where the histogram was; it serves outputs too."""

from candlewick.histogram import BOUNDS_S, Histogram

__all__ = ["BOUNDS_S", "Histogram"]

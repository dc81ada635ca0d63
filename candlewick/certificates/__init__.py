"""Completeness certificates: what is proved of a series, how, and how anybody can check it."""

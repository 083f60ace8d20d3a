"""From tri-planes and rays to colours and depths: pure functions.

Imports `ops` and what is above it.
"""

"""From tri-planes and rays to colors and depths: pure functions.

Imports `ops` and what is above it.
"""

"""Rows of numbers of any number of people: shards, and an index of them.

Knows nothing of adapters, and imports no JAX.
"""

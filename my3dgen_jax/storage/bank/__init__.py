"""Rows of numbers for any number of people: shards, and their index.

Knows nothing about adapters, and does not import JAX.
"""

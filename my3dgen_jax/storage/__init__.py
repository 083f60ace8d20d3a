"""Files that are whole or absent, and what reads and writes them.

Imports nothing of the package but its errors.
"""

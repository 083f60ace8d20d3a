"""Files that are complete or absent, and the code that reads and writes them.

Imports nothing from the package except its errors.
"""

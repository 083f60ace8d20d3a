"""How directions are found: samples, their labels, and what they tell.

Imports `person` and `rendering`, and nothing of `apps.edit`.
"""

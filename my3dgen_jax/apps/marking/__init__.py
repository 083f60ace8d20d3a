"""Landmarks that a person clicks: a page in the browser, and what it keeps.

May import from `apps.gate` and `data`; knows nothing of albums.
"""

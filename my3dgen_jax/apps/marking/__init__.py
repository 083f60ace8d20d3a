"""Marking landmarks by hand: a page in the browser, and what it saves.

May import from `apps.gate` and `data`; knows nothing of albums.
"""

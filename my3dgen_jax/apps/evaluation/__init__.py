"""The paper's tables: what is measured, kept, tabulated and claimed.

Imports the applications that it measures.
"""

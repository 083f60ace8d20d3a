"""Parts of a personalization run: its settings and steps.

Callers use `apps.personalize`.
"""

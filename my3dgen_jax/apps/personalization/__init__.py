"""What a run of personalization is: its settings, and its steps.

`apps.personalize` is what one calls.
"""

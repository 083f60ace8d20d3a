"""Judges of the demo: what each learns, from what, and how good it is.

Imports the demo's `people`, `gallery` and `attributes`; `train_networks`
trains them.
"""

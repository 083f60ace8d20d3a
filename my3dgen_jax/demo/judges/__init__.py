"""Judges of the demo: their training tasks, targets and quality.

Imports the demo's `people`, `gallery` and `attributes`; `train_networks`
trains them.
"""

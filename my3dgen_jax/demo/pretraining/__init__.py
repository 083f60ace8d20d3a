"""Pretraining the demo's prior: its settings, batches and losses.

Imports the demo's `people`, `points` and `render`; `pretrain` trains.
"""

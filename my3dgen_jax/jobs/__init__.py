"""Support for long jobs: devices, processes, progress, stopping, logs.

Imports `storage` and what is above it; knows no models and no photos.
"""

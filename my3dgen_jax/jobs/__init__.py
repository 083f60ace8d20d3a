"""What long work needs: devices, processes, progress, stopping, logs.

Imports `storage` and what is above it; knows of no model and no photo.
"""

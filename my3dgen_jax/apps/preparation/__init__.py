"""From anyone's photos or video to an album.

Imports `data` and `losses`; needs no generator.
"""

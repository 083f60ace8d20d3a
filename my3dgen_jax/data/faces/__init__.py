"""From a face in a photo to EG3D's crop and camera label.

Imports the rest of `data` and what is above it.
"""

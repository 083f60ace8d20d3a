"""From a face in a photo to the crop and camera label of EG3D.

Imports the rest of `data` and what is above it.
"""

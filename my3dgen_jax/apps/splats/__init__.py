"""Heads as 3D Gaussian splats: made of views, fitted to them, and written.

Views come from `apps.rendering`, what a head is from `apps.meshing`.
"""

"""Heads as 3D Gaussian splats: initialized from views, fitted, and written.

Uses views from `apps.rendering`, and densities from `apps.meshing`.
"""

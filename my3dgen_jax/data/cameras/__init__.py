"""Cameras as other programs write them."""

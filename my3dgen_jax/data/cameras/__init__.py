"""Cameras in other programs' formats."""

"""Damaged, hostile and huge inputs, and kills; each a script with a seed."""

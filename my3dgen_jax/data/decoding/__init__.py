"""What photo and video files say about themselves, and their colors.

Imports what is above `data`.
"""

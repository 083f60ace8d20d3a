"""What files of photos and videos say of themselves, and their colors.

Imports what is above `data`.
"""

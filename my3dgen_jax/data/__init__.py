"""Images, albums and labels on disk."""

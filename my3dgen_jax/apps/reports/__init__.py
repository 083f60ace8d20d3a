"""What a run did, as numbers, pictures and one web page."""

"""How anchors and adapters are optimised, and what a run keeps."""

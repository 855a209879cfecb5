"""Text: main lowered, memory planned, C, header and archive printed."""

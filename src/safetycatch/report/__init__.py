"""What a run shows to people: one HTML file without script or network, and the same in twenty lines of Markdown."""

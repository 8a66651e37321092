"""What a model costs, where the figure comes from, and when a model ends."""

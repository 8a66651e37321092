"""Loading rows, dividing them and finding the ones that appear on both sides."""

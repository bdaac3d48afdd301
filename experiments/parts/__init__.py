"""What pages choose from: text, layers, series; each with its settings."""

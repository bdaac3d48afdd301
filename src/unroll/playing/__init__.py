"""Trained models to play with: in a page that a server answers, or in one file."""

"""What a trained model is asked for: to predict, to generate, to score; see `kinds`."""

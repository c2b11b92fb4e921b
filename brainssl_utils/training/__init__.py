"""One call from a method and a corpus to a trained model with its record."""

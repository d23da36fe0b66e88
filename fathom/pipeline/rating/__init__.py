"""Ratings are foretold: by means, biases and factors, and by a language model that is asked as it is."""

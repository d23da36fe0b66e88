"""One language model behind one seam. In: text. Out: replies with their log-probabilities, likelihoods of titles."""

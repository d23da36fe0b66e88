"""Candidates are put in order: by named models, and by a language model that is asked as it is."""

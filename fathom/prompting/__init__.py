"""Language models asked as they are: prompts go out, answers come back and are read."""

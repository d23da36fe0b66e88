"""What a language model writes about items and people is fed to recommenders, and measured beside the same ones without it."""

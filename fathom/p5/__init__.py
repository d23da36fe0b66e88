"""Every task is a sentence (P5, arXiv:2203.13366): templates as data, item ids as words, one encoder-decoder, answers that exist."""

"""P5: every task as a sentence, whatever items are called, beside named models and simple raters."""

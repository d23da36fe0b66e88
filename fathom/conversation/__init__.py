"""People say what they want, turn by turn, and get lists that keep to it. In: a catalogue and words. Out: items, reasons, questions."""

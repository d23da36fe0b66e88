"""What the methods have in common that ask a language model as it is: who is asked, and that nothing is asked twice."""

"""`place()`: parts of a Functional model on several devices."""

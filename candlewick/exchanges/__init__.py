"""What exchanges say: one folder each, and the contract they keep."""

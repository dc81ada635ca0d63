"""The only code that joins stages and starts tasks. A service wires and supervises; what it needs computed, a stage does."""

"""What is asked of an exchange rather than heard from it: REST within its limits, and its archives."""

"""The gap handler: finds and repairs what the shared database lacks, on request and on its own."""

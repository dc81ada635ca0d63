"""History into the store: from the archive and REST, checked, explained and certified."""

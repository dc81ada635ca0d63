"""What a run shows of itself over HTTP: health, metrics, status and a page; and the repair that may be asked for."""

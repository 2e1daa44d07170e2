"""Log files in, checked requests out: formats, lines, days, places, and the balance of every line."""

"""Files: those of our own formats, YAML and JSON from anywhere, tables, and what of addresses may be stored."""

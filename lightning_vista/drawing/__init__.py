"""Charts and pictures, for pages, documents and loggers."""

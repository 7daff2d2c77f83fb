"""The project's own engines: stages carried out by programs written in torch."""

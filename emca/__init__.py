"""The ground floor: errors, the command line, files; `python -m emca` runs every command."""

"""Result files: JSON with its origin, the machine it came from, and how files are found again."""

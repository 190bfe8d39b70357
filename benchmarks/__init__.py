"""Programs that measure the engine; see README.md here."""

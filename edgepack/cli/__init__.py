"""The command line of the host: the only place there that prints."""

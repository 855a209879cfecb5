"""The command line: one file a verb; ``main`` holds the parser, the one catch, the exit codes."""

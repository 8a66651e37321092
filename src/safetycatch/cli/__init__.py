"""The command line: parse, call, print, exit code; a file per group of verbs."""

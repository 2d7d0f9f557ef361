"""Command line in, exit code out: options and printing here; the work happens in a child process."""

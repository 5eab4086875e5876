"""The command line: ``main`` and one module per command.  A command is imported when it is invoked."""

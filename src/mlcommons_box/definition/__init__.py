"""From YAML text to the values of :mod:`mlcommons_box.model`.  Executes nothing, writes nothing."""

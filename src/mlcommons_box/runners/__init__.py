"""One module per engine.  Backends never import each other; the registry imports one when it is chosen."""

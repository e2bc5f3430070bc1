"""Floor 2a: symbols, nodes, graphs and traces."""

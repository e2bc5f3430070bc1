"""Speed: training against PyTorch, and what an import costs."""

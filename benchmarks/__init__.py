"""Speed: training against PyTorch and Keras, and what an import costs."""

"""What is wrong with this machine, told where graphkit itself cannot be imported: the standard library alone."""

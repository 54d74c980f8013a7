"""The SQL of AWS IoT rules, pure: text to tree, tree to function, function to value."""

"""From a topic to its subscribers: the rules for topics, the subscription tree, shared groups."""
